import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  request as plainRequest,
  type Server,
} from "node:http";
import { createServer as createSecureServer, request } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { createSecureContext, type TLSSocket, connect as tlsConnect } from "node:tls";
import { createLogger, disposer } from "@dormouse/base";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseIpv4 } from "../ipv4.ts";
import { createAuthority } from "./authority.ts";
import { type HttpForwarder, startHttpForwarder } from "./http-forwarder.ts";
import type { ProxiedFlow } from "./proxy.ts";
import { type EgressSecret, SecretSet } from "./secrets.ts";

const owned = disposer();
const host = "api.example.test";
/** Stands for the authorities that the world trusts, and for one that nobody does. */
const world = createAuthority("the world");
const nobodys = createAuthority("nobody");
const worldRoot = world.certificate("world", [host, "other.test"]).pem;
const own = createAuthority("the installation");
const ownRoot = own.certificate("org-1", [host]).pem;
const placeholder = `dormouse-secret-${"a".repeat(40)}`;
const value = "s3cret-of-the-person";

interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage["headers"];
  body: string;
}
const seen: Seen[] = [];
let connections = 0;
let forwarder: HttpForwarder;
let secureServer: Server;
let plainServer: Server;
let untrusted: Server;
let secret: EgressSecret;
let leads = true;
const flows = new Map<number, ProxiedFlow>();

beforeAll(async () => {
  const answer = async (incoming: IncomingMessage, response: import("node:http").ServerResponse) => {
    if (incoming.url === "/echo") return void incoming.pipe(response);
    if (incoming.url === "/slow") {
      response.write("first\n");
      const rest = await text(incoming);
      return void response.end(rest);
    }
    seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body: await text(incoming) });
    if (incoming.url === "/close") response.shouldKeepAlive = false;
    response.setHeader("x-server", "1");
    response.end(`saw ${incoming.url}`);
  };
  const listening = async (server: Server): Promise<Server> => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    owned.add(() => {
      server.closeAllConnections();
      server.close();
    });
    return server;
  };
  const secureBy = (authority: typeof world, organisation: string) =>
    createSecureServer({ SNICallback: (name, done) => done(null, authority.contextOf(organisation, name)) }, answer);
  secureServer = await listening(secureBy(world, "world"));
  secureServer.on("secureConnection", () => connections++);
  secureServer.on("upgrade", (incoming: IncomingMessage, socket: Socket) => {
    seen.push({ method: "UPGRADE", url: incoming.url, headers: incoming.headers, body: "" });
    if (incoming.url !== "/socket") return void socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ");
    socket.pipe(socket);
  });
  untrusted = await listening(secureBy(nobodys, "world"));
  plainServer = await listening(createHttpServer(answer));
  forwarder = await startHttpForwarder({
    flow: (id) => flows.get(id),
    check: async (_flow, name) => ({ isAllowed: name !== "denied.test", reason: "no rule allows it" }),
    secretsOf: () => new SecretSet({ organisation: "org-1", secrets: [secret] }),
    leadsTo: async () => leads,
    contextOf: own.contextOf,
    roots: createSecureContext({ ca: [worldRoot] }),
    logger: createLogger({ level: "error", write: console.log }),
  });
  owned.add(() => forwarder[Symbol.asyncDispose]());
});
afterAll(() => owned[Symbol.asyncDispose]());
beforeEach(() => {
  seen.length = 0;
  connections = 0;
  leads = true;
  secret = { name: "TOKEN", placeholder, hosts: [host], isInsecure: false, value };
});

let lastId = 0;
/** A connection as the proxy's program hands it over. */
function open(server: Server, isEncrypted: boolean): Socket {
  const id = ++lastId;
  const { port } = server.address() as AddressInfo;
  const flow = { id, from: "10.0.0.1", address: parseIpv4("127.0.0.1") ?? 0, port, name: host, isEncrypted };
  flows.set(id, { ...flow, isDecided: true, head: Buffer.alloc(0) });
  const socket = connect(`\0${forwarder.path}`);
  socket.write(`${id}\n`);
  return socket;
}
function secure(server = secureServer, options: { ALPNProtocols?: string[] } = {}): TLSSocket {
  return tlsConnect({ socket: open(server, true), servername: host, ca: [ownRoot], ...options });
}

interface Asked {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: Buffer | string;
}
async function ask(socket: Socket, { path = "/", method, headers = {}, body }: Asked = {}) {
  const send = "encrypted" in socket ? request : plainRequest;
  const asked = send({
    createConnection: () => socket,
    path,
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: { host, ...headers },
  });
  asked.end(body);
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  return { status: answer.statusCode, headers: answer.headers, body: (await buffer(answer)).toString() };
}
/** Writes bytes as they are, and reads until the other side has nothing more to say. */
async function raw(socket: Socket, bytes: string): Promise<string> {
  socket.write(bytes);
  return await text(socket);
}
const bearer = { authorization: `Bearer ${placeholder}` };

describe("a connection that is decrypted for a secret", () => {
  it("brings the value to its host, in headers, and nowhere else", async () => {
    const body = `body ${placeholder}`;
    const answer = await ask(secure(), { path: `/x?${placeholder}`, headers: { ...bearer, "x-other": "1" }, body });
    expect(answer).toMatchObject({ status: 200, body: `saw /x?${placeholder}`, headers: { "x-server": "1" } });
    expect(seen).toMatchObject([
      {
        method: "POST",
        url: `/x?${placeholder}`,
        body,
        headers: { authorization: `Bearer ${value}`, host, "x-other": "1" },
      },
    ]);
  });

  it("takes requests to its own host alone", async () => {
    for (const other of ["other.test", `${host}.other.test`, `${host}:1`, ""]) {
      const answer = await ask(secure(), { headers: { host: other, ...bearer } });
      expect(answer).toMatchObject({ status: 421, body: expect.stringContaining(`to ${host} alone`) });
    }
    const absolute = await raw(
      secure(),
      `GET https://other.test/ HTTP/1.1\r\nHost: ${host}\r\nx: ${placeholder}\r\n\r\n`,
    );
    expect(absolute).toMatch(/^HTTP\/1.1 421 /);
    const twice = await raw(
      secure(),
      `GET / HTTP/1.1\r\nHost: ${host}\r\nHost: other.test\r\nx: ${placeholder}\r\n\r\n`,
    );
    expect(twice).toMatch(/^HTTP\/1.1 4\d\d /);
    expect(seen).toEqual([]);
  });

  it("refuses, in words for programs, what it has no value for", async () => {
    secret = { ...secret, value: undefined };
    const answer = await ask(secure(), { headers: bearer });
    expect(answer).toMatchObject({ status: 502, headers: { "content-type": "application/json" } });
    expect(JSON.parse(answer.body)).toEqual({
      error: {
        message: "Dormouse did not let this request out of the workspace: secret TOKEN cannot be read now; try again.",
      },
    });
    const old = await ask(secure(), { headers: { authorization: `Bearer ${placeholder.replaceAll("a", "b")}` } });
    expect(old).toMatchObject({ status: 403, body: expect.stringContaining("no secret of this workspace") });
    expect(seen).toEqual([]);
  });

  it("gives no value to a method whose answer is the request", async () => {
    const answer = await ask(secure(), { method: "TRACE", headers: bearer });
    expect(answer).toMatchObject({ status: 403, body: expect.stringContaining("does not go with the method TRACE") });
    expect(seen).toEqual([]);
    expect(await ask(secure(), { method: "TRACE" })).toMatchObject({ status: 200 });
  });

  it("is not gone on with when the server cannot prove its name", async () => {
    const answer = await ask(secure(untrusted), { headers: bearer });
    expect(answer).toMatchObject({
      status: 502,
      body: expect.stringContaining("the server's certificate is not to be trusted"),
    });
    expect(answer.body).not.toContain(value);
    expect(seen).toEqual([]);
  });

  it("carries requests one after the other on one connection to the server, pipelined ones too", async () => {
    const one = (path: string) => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nx-key: ${placeholder}\r\n`;
    const answers = await raw(secure(), `${one("/1")}\r\n${one("/2")}\r\n${one("/3")}Connection: close\r\n\r\n`);
    expect(answers.match(/saw \/\d/g)).toEqual(["saw /1", "saw /2", "saw /3"]);
    expect(seen.map(({ url, headers }) => [url, headers["x-key"]])).toEqual([1, 2, 3].map((n) => [`/${n}`, value]));
    expect(connections).toBe(1);
  });

  it("ends when the server ends it", async () => {
    const socket = secure();
    const answers = await raw(socket, `GET /close HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(answers).toContain("saw /close");
  });

  it("streams both ways, chunked or not, without waiting for an end", async () => {
    const asked = request({
      createConnection: () => secure(),
      path: "/slow",
      method: "POST",
      headers: { host, ...bearer },
    });
    asked.write("begin ");
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    const [first] = (await once(answer, "data")) as [Buffer];
    expect(first.toString()).toBe("first\n");
    asked.end("end");
    expect(await text(answer)).toBe("begin end");
    const large = randomBytes(8 * 1024 * 1024).toString("base64");
    const echoed = await ask(secure(), {
      path: "/echo",
      body: large,
      headers: { ...bearer, "transfer-encoding": "chunked" },
    });
    expect(echoed.body === large).toBe(true);
  });

  it("answers what is malformed or too large, and passes none of it on", async () => {
    const head = `GET / HTTP/1.1\r\nHost: ${host}\r\n`;
    expect(await raw(secure(), `${head}x: ${"y".repeat(40_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
    for (const broken of [
      "nonsense\r\n\r\n",
      `${head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc`,
      `${head}Content-Length: 1, 2\r\n\r\n`,
      `${head}a b: c\r\n\r\n`,
      `${head}x: a\0b\r\n\r\n`,
    ])
      expect(await raw(secure(), broken)).toMatch(/^HTTP\/1.1 400 /);
    expect(seen).toEqual([]);
  });

  it("is upgraded with the value in its headers, and its answer passed on when it is not", async () => {
    const upgrade = (path: string) =>
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${placeholder}\r\n\r\n`;
    const socket = secure();
    socket.write(upgrade("/socket"));
    let said = "";
    socket.on("data", (data) => {
      said += String(data);
    });
    await expect.poll(() => said).toMatch(/^HTTP\/1.1 101 [\s\S]*\r\n\r\nhello $/);
    socket.write("and back");
    await expect.poll(() => said).toMatch(/hello and back$/);
    socket.destroy();
    expect(seen).toMatchObject([{ headers: { authorization: `Bearer ${value}` } }]);
    expect(await raw(secure(), upgrade("/refused"))).toMatch(/^HTTP\/1.1 401 Unauthorized\r\n[\s\S]*no$/);
  });

  it("is one of a bounded number", async () => {
    const all = Array.from({ length: 300 }, () => open(secureServer, true));
    const closed = new Set<Socket>();
    for (const socket of all) socket.once("close", () => closed.add(socket)).on("error", () => {});
    await expect.poll(() => closed.size, { timeout: 10_000 }).toBe(300 - 256);
    for (const socket of all) socket.destroy();
    await expect.poll(async () => (await ask(secure())).status, { timeout: 10_000 }).toBe(200);
  });

  it("offers HTTP/1.1 alone", async () => {
    const both = secure(secureServer, { ALPNProtocols: ["h2", "http/1.1"] });
    await once(both, "secureConnect");
    expect(both.alpnProtocol).toBe("http/1.1");
    both.destroy();
    const failed = once(secure(secureServer, { ALPNProtocols: ["h2"] }), "secureConnect");
    await expect(failed).rejects.toThrow(/no application protocol/i);
  });
});

describe("plain HTTP to a secret's host", () => {
  const plain = (headers: Record<string, string> = bearer) => ask(open(plainServer, false), { headers });

  it("gets the value only where the person allowed that", async () => {
    expect(await plain()).toMatchObject({ status: 403, body: expect.stringContaining("over TLS alone") });
    expect(seen).toEqual([]);
    secret = { ...secret, isInsecure: true };
    expect(await plain()).toMatchObject({ status: 200 });
    expect(seen).toMatchObject([{ headers: { authorization: `Bearer ${value}` } }]);
  });

  it("gets it only where the name leads", async () => {
    secret = { ...secret, isInsecure: true };
    leads = false;
    expect(await plain()).toMatchObject({ status: 403, body: expect.stringContaining(`is no address of ${host}`) });
    expect(seen).toEqual([]);
    expect(await plain({})).toMatchObject({ status: 200 });
  });

  it("goes to other hosts as it is", async () => {
    expect(await plain({ ...bearer, host: "other.test" })).toMatchObject({ status: 200 });
    expect(seen).toMatchObject([{ headers: { authorization: `Bearer ${placeholder}` } }]);
    expect(await plain({ host: "denied.test" })).toMatchObject({
      status: 403,
      body: expect.stringContaining("no rule allows it"),
    });
  });
});
