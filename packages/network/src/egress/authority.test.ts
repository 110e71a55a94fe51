import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import { run } from "@dormouse/base/node";
import { describe, expect, it } from "vitest";
import { createAuthority } from "./authority.ts";

const authority = createAuthority("a secret of the installation, long enough");
const trusted = authority.certificate("org-1", ["api.example.com", "*.corp.test"]).pem;

/** What a client says that trusts only this and is answered for a name. */
async function connecting(name: string, organisation = "org-1", by = authority, trust = trusted): Promise<string> {
  const server = createServer(
    { SNICallback: (_name, done) => done(null, by.contextOf(organisation, name)) },
    (socket) => socket.end(),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    servername: name,
    ca: [trust],
  });
  try {
    await once(client, "secureConnect");
    return "trusted";
  } catch (error) {
    return String((error as Error).message);
  } finally {
    client.destroy();
    server.close();
  }
}

describe("the authority of an organisation", () => {
  it("stands in for the hosts of its certificate", async () => {
    for (const name of ["api.example.com", "a.b.corp.test"]) expect(await connecting(name)).toBe("trusted");
  });

  it("is good for no other host, whoever has its key", async () => {
    expect(await connecting("evil.test")).toMatch("permitted subtree violation");
  });

  it("is another one for another organisation, and for another installation", async () => {
    expect(await connecting("api.example.com", "org-2")).toMatch("unable to verify");
    expect(await connecting("api.example.com", "org-1", createAuthority("of another installation"))).toMatch(
      "unable to verify",
    );
  });

  it("is found by OpenSSL in a folder by the hash that is told", async () => {
    const { pem, hash } = authority.certificate("org-A_1", ["api.example.com"]);
    const told = await run("openssl", ["x509", "-noout", "-hash"], { input: pem });
    expect(told.stdout.trim()).toBe(hash);
  });

  it("is the same one on every host of an installation", async () => {
    const other = createAuthority("a secret of the installation, long enough");
    expect(await connecting("api.example.com", "org-1", other)).toBe("trusted");
  });

  it("makes certificates that are used for some days, and anew before they end", () => {
    let nowMs = Date.now();
    const clocked = createAuthority("a secret", () => nowMs);
    const first = clocked.contextOf("org-1", "a.test");
    expect(clocked.contextOf("org-1", "a.test")).toBe(first);
    expect(clocked.contextOf("org-2", "a.test")).not.toBe(first);
    nowMs += 4 * 24 * 3_600_000;
    expect(clocked.contextOf("org-1", "a.test")).not.toBe(first);
  });

  it("keeps a bounded number", () => {
    const first = authority.contextOf("org-1", "a.corp.test");
    for (let index = 0; index < 512; index++) authority.contextOf("org-1", `n${index}.corp.test`);
    expect(authority.contextOf("org-1", "a.corp.test")).not.toBe(first);
  });
});
