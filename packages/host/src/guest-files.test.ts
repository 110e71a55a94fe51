import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { DormouseError, disposer } from "@dormouse/base";
import { describe, expect, it } from "vitest";
import { openConnections } from "./guest-address.ts";
import { receiveFile, sendFile } from "./guest-files.ts";

const { signal } = new AbortController();

/** What stands for a machine's agent. */
async function startAgent(answer: RequestListener) {
  const stack = disposer();
  const server = createServer(answer).listen(0, "127.0.0.1");
  stack.add(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, "listening");
  const folder = await mkdtemp(join(tmpdir(), "dormouse-guest-files-"));
  stack.add(() => rm(folder, { recursive: true }));
  const connections = openConnections("127.0.0.1", () => "token");
  stack.add(() => connections.close());
  const { port } = server.address() as AddressInfo;
  return {
    guest: { ...connections, port, token: "token" },
    target: join(folder, "file"),
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

describe("files of a machine", () => {
  it("are sent whole, of whatever length", async () => {
    const seen: unknown[] = [];
    await using agent = await startAgent(async (request, response) => {
      const body = await buffer(request);
      seen.push(request.method, request.url, request.headers.authorization, body.length);
      response.end("{}");
    });
    const pieces = Readable.from([Buffer.alloc(100_000), Buffer.alloc(200_000)]);
    await sendFile(agent.guest, "/var/tmp/a b", pieces, signal);
    expect(seen).toEqual(["PUT", "/file?path=%2Fvar%2Ftmp%2Fa%20b", "Bearer token", 300_000]);
  });

  it("a refusal is the agent's own", async () => {
    await using agent = await startAgent((_, response) => {
      const refusal = new DormouseError("not_found", "there is no such folder");
      response.writeHead(404).end(JSON.stringify(refusal.toJSON()));
    });
    const sent = sendFile(agent.guest, "/nowhere/a", Readable.from([Buffer.alloc(10_000_000)]), signal);
    await expect(sent).rejects.toMatchObject({ code: "not_found", message: "there is no such folder" });
  });

  it("content that breaks off is no file", async () => {
    await using agent = await startAgent((request) => request.resume());
    const broken = new Readable({
      read() {
        this.destroy(new Error("the disk is gone"));
      },
    });
    await expect(sendFile(agent.guest, "/a", broken, signal)).rejects.toThrow("the disk is gone");
  });

  it("are received as far as they may be", async () => {
    await using agent = await startAgent((_, response) => {
      response.writeHead(200, { "content-length": "300000" }).end(Buffer.alloc(300_000, 7));
    });
    const { guest, target } = agent;
    const seen: number[] = [];
    const onBytes = (bytes: number, total: number) => seen.push(bytes / total);
    await receiveFile(guest, "/a", { target, maxBytes: 300_000, onBytes, signal });
    expect((await readFile(target)).equals(Buffer.alloc(300_000, 7))).toBe(true);
    expect(seen.at(-1)).toBe(1);
    const over = receiveFile(guest, "/a", { target, maxBytes: 299_999, onBytes, signal });
    await expect(over).rejects.toThrow(/^\/a is larger than /);
  });
});
