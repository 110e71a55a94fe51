import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { request } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { collect, startTestAgent, type TestAgent } from "./test-agent.ts";

let agent: TestAgent;
beforeAll(async () => {
  agent = await startTestAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close();
  }
});

/** A server of the machine's, by its port. */
async function listen(host: string, onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  servers.push(server);
  server.listen(0, host);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** The bytes of a port, or the status and body with which they were refused. */
function open(port: number | string, headers: Record<string, string> = {}) {
  const { baseUrl, token } = agent.address;
  const outgoing = request(`${baseUrl}/port/${port}`, {
    headers: { authorization: `Bearer ${token}`, connection: "Upgrade", upgrade: "tcp", ...headers },
  });
  outgoing.end();
  return new Promise<{ socket?: Duplex; status: number; text?: string }>((resolve, reject) => {
    outgoing.once("error", reject);
    outgoing.once("upgrade", (answer, socket, head) => {
      socket.unshift(head);
      resolve({ socket, status: answer.statusCode ?? 0 });
    });
    outgoing.once("response", async (answer) => {
      const text = Buffer.concat(await answer.toArray()).toString();
      resolve({ status: answer.statusCode ?? 0, text });
    });
  });
}

test("an upgrade becomes a connection to what listens on loopback, of either family", async () => {
  for (const host of ["127.0.0.1", "::1"]) {
    const port = await listen(host, (socket) => socket.pipe(socket));
    const { socket } = await open(port);
    socket?.end("said");
    expect((await socket?.toArray())?.join("")).toBe("said");
  }
});

test("a client that ends its direction still reads the answer, whole and in order", async () => {
  const answer = randomBytes(8 * 1024 * 1024);
  const port = await listen("127.0.0.1", (socket) => {
    const hash = createHash("sha256");
    socket.on("data", (chunk) => hash.update(chunk));
    socket.once("end", () => {
      socket.write(hash.digest());
      socket.end(answer);
    });
  });
  const sent = randomBytes(4 * 1024 * 1024);
  const { socket } = await open(port);
  if (!socket) throw new Error("refused");
  Readable.from([sent]).pipe(socket);
  const received = Buffer.concat(await socket.toArray());
  expect(received.subarray(0, 32)).toEqual(createHash("sha256").update(sent).digest());
  expect(received.subarray(32).equals(answer)).toBe(true);
});

test("a connection that is cut at one side is closed at the other", async () => {
  const { promise: connected, resolve } = Promise.withResolvers<Socket>();
  const port = await listen("127.0.0.1", resolve);
  const { socket } = await open(port);
  const behind = await connected;
  const cut = once(behind, "error");
  (socket as Socket).resetAndDestroy();
  expect(await cut).toMatchObject([{ code: "ECONNRESET" }]);
});

test("refuses what is no port, what nobody listens on, and whoever has no token", async () => {
  const port = await listen("127.0.0.1", () => {});
  servers.splice(0)[0]?.close();
  const refused = await open(port);
  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.text ?? "")).toEqual({
    code: "unavailable",
    message: `nothing listens on port ${port} in the workspace`,
    details: { port },
  });
  for (const wrong of ["0", "65536", "x", "22/../../file"]) expect((await open(wrong)).status).toBe(401);
  expect((await open(port, { authorization: "Bearer wrong" })).status).toBe(401);
});

test("what listens is told with its process, and what begins to listen within a second", async () => {
  const before = await listen("127.0.0.1", () => {});
  const { ports } = await agent.client.ports.list({});
  expect(ports.find(({ port }) => port === before)).toMatchObject({
    address: "127.0.0.1",
    pid: process.pid,
    process: "node",
    commandLine: expect.stringContaining("node"),
  });
  const controller = new AbortController();
  const changes = await agent.client.ports.watch({}, { signal: controller.signal });
  const next = async () => {
    const { done, value } = await changes.next();
    if (done) throw new Error("the watch has ended");
    return value;
  };
  expect((await next()).opened.map(({ port }) => port)).toContain(before);
  const opened = await listen("::", () => {});
  expect((await next()).opened).toMatchObject([{ port: opened, address: "::", pid: process.pid }]);
  controller.abort();
  await collect(changes).catch(() => {});
});
