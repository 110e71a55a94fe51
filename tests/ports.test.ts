import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import { Readable } from "node:stream";
import { type DormouseError, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { gatewayConfig, startGateway } from "@dormouse/gateway";
import { Connection, Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { forwardPort } from "../packages/cli/src/ports/forward.ts";
import { createSignInLink } from "../packages/control/src/accounts/sign-in-links.ts";
import { openDatabase } from "../packages/control/src/database/open.ts";
import { users } from "../packages/control/src/database/schema.ts";
import {
  startTestPlatform,
  startTestPostgres,
  type TestPlatform,
  testLog,
} from "../packages/control/src/testing/platform.ts";
import { dormouse } from "./support/dormouse.ts";
import { type Answer, PortBrowser } from "./support/port-browser.ts";

// Real control, real gateway, real servers; only the machines' host is a stand-in, whose ports are this machine's.

const platformHost = "dormouse.test:7070";
const resources = disposer();
let platform: TestPlatform;
let gatewayUrl: string;
let keys: Record<"owner" | "colleague" | "stranger", string>;
let browsers: Record<"owner" | "colleague" | "stranger" | "nobody", PortBrowser>;
let link = { id: "", url: "" };
/** The user's server, and everything that reached it. */
let port: number;
const seen: IncomingMessage[] = [];
/** What the system took of an answer that never ends. */
let endlessBytes = 0;

beforeAll(async () => {
  const postgres = await startTestPostgres(resources);
  const ports = { domain: platformHost, maxVisibility: "public" as const };
  platform = await startTestPlatform(resources, postgres, { ports });
  const gateway = await startGateway(
    gatewayConfig.parse({
      listen: {},
      controlUrl: platform.control.url,
      internalUrl: platform.control.internalUrl,
      internalToken: platform.config.internalToken,
      publicUrl: platform.config.publicUrl,
      portsDomain: platformHost,
      workbenchDir: "/nowhere",
      consoleDir: "/nowhere",
    }),
    testLog,
  );
  resources.add(async () => gateway[Symbol.asyncDispose]());
  gatewayUrl = gateway.url;
  port = await listen(userServer());
  await makePeople();
  await call("POST", "/workspaces", { name: "w", organisation: "one" });
  link = await newLink();
});
afterAll(async () => resources[Symbol.asyncDispose]());
beforeEach(() => setPort({ visibility: "private", protocol: null, isForwarded: null }));

function userServer(): Server {
  const server = createServer(async (incoming, response) => {
    seen.push(incoming);
    if (incoming.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: first\n\n");
      return;
    }
    if (incoming.url === "/endless") {
      const piece = Buffer.alloc(64 * 1024);
      response.writeHead(200);
      const write = () => {
        let isTaken = true;
        while (isTaken) {
          isTaken = response.write(piece);
          endlessBytes += piece.length;
        }
        response.once("drain", write);
      };
      return write();
    }
    if (incoming.url === "/upload") {
      const hash = createHash("sha256");
      for await (const chunk of incoming) hash.update(chunk as Uint8Array);
      return void response.end(hash.digest("hex"));
    }
    response.setHeader("set-cookie", [
      "own=1; Domain=dormouse.test; Path=/",
      "dormouse-port=stolen",
      "__Secure-dormouse.session_token=x",
    ]);
    response.end(JSON.stringify({ url: incoming.url, headers: incoming.headers }));
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket, incoming) => {
    seen.push(incoming);
    socket.on("message", (data) => socket.send(`echo ${data}`));
  });
  return server;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  resources.add(async () => {
    server.close();
    if ("closeAllConnections" in server) (server as { closeAllConnections(): void }).closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

async function call(method: string, path: string, body?: unknown) {
  const answer = await platform.call(method, `/api${path}`, { body });
  if (answer.status >= 400) throw new Error(`${method} ${path}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}
const setPort = (body: Record<string, unknown>, which = port) => call("PATCH", `/workspaces/w/ports/${which}`, body);
const newLink = async () =>
  (await call("POST", `/workspaces/w/ports/${port}/links`, {})) as unknown as { id: string; url: string };
/** The gateway believes an answer of control's for two seconds. */
const eventually = (status: number, ask: () => Promise<Answer>) =>
  vi.waitFor(
    async () => {
      const answer = await ask();
      expect(answer.status).toBe(status);
      return answer;
    },
    { timeout: 10_000, interval: 200 },
  );
const at = (path: string, which = port) => `http://${which}--w.${platformHost}${path}`;

/** The owner has an organisation with a colleague, and another one with a stranger. */
async function makePeople(): Promise<void> {
  const database = await openDatabase({ url: platform.config.databaseUrl, log: testLog });
  const { db } = database;
  const [administrator] = await db.select().from(users);
  const ids = { owner: administrator?.id ?? "", colleague: "user-colleague", stranger: "user-stranger" };
  for (const name of ["colleague", "stranger"] as const) {
    await db.insert(users).values({ id: ids[name], name, email: `${name}@x.test` });
  }
  const signIn = async (name: keyof typeof ids) => {
    const browser = new PortBrowser(gatewayUrl);
    const { url } = await createSignInLink(db, { userId: ids[name], publicUrl: platform.config.publicUrl });
    const answer = await browser.fetch(`http://${platformHost}/api/auth/sign-in/link`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: `http://${platformHost}` },
      body: JSON.stringify({ token: new URL(url).hash.slice("#token=".length) }),
    });
    expect(answer.status).toBe(200);
    return browser;
  };
  const keyOf = async (browser: PortBrowser) => {
    const answer = await browser.fetch(`http://${platformHost}/api/api-keys`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: `http://${platformHost}` },
      body: JSON.stringify({ name: "tests" }),
    });
    return (JSON.parse(answer.text) as { key: string }).key;
  };
  const [owner, colleague, stranger] = [await signIn("owner"), await signIn("colleague"), await signIn("stranger")];
  browsers = { owner, colleague, stranger, nobody: new PortBrowser(gatewayUrl) };
  keys = { owner: await keyOf(owner), colleague: await keyOf(colleague), stranger: await keyOf(stranger) };
  for (const [name, who] of [
    ["one", "colleague"],
    ["two", "stranger"],
  ] as const) {
    await call("POST", "/organisations", { name });
    await join(name, who);
  }
  await database[Symbol.asyncDispose]();
}

/** Has somebody join an organisation of the owner's. */
async function join(name: string, who: "colleague" | "stranger"): Promise<void> {
  const { url } = await call("POST", `/organisations/${name}/invitations`, {});
  const token = new URL(String(url)).hash.slice("#token=".length);
  const headers = { authorization: `Bearer ${keys[who]}` };
  const joined = await platform.call("POST", "/api/organisations/join", { body: { token }, headers });
  expect(joined).toMatchObject({ status: 200, body: { name, role: "member" } });
}

const actors = [
  "nobody",
  "a stranger",
  "a stranger's key",
  "a colleague",
  "a colleague's key",
  "the owner",
  "the owner's key",
  "a link's token",
  "a link in a browser",
  "a wrong key",
  "a wrong cookie",
] as const;
type ActorKind = (typeof actors)[number];
const everybody = new Set<ActorKind>(actors);
const insiders = new Set<ActorKind>(["the owner", "the owner's key", "a link's token", "a link in a browser"]);
const insidersAndMembers = new Set<ActorKind>([...insiders, "a colleague", "a colleague's key"]);

/** Somebody who has been at the port's origin as far as they get. */
async function actorAt(kind: ActorKind): Promise<PortBrowser> {
  const browser = new PortBrowser(gatewayUrl);
  const token = new URL(link.url).hash.slice(1);
  const [, who = ""] = /^(?:a|the) (owner|colleague|stranger)'s key$/.exec(kind) ?? [];
  if (who) browser.headers = { authorization: `Bearer ${keys[who as keyof typeof keys]}` };
  if (kind === "a link's token") browser.headers = { authorization: `Bearer ${token}` };
  if (kind === "a wrong key") browser.headers = { authorization: "Bearer dmk_wrong" };
  if (kind === "a wrong cookie") browser.keep(new URL(at("/")).host, ["dormouse-port=wrong"]);
  if (kind === "a link in a browser") {
    const body = JSON.stringify({ token });
    const headers = { "content-type": "application/json", origin: new URL(at("/")).origin };
    expect((await browser.fetch(at("/.dormouse/link"), { method: "POST", headers, body })).status).toBe(204);
  }
  const name = kind.replace(/^(a|the) /, "");
  if (name in browsers) {
    const known = browsers[name as keyof typeof browsers];
    await known.visit(at("/"));
    return known;
  }
  return browser;
}

describe.each([
  ["private", insiders],
  ["organisation", insidersAndMembers],
  ["public", everybody],
] as const)("a port that is %s", (visibility, letIn) => {
  test.each(actors)("%s: HTTP, events, WebSocket", async (kind) => {
    await setPort({ visibility });
    const actor = await actorAt(kind);
    const refused = ["a stranger's key", "a colleague's key"].includes(kind) ? 404 : 401;
    const isIn = letIn.has(kind);

    const answer = await actor.fetch(at("/x?y=1"));
    expect(answer.status).toBe(isIn ? 200 : refused);
    if (isIn) expect(JSON.parse(answer.text)).toMatchObject({ url: "/x?y=1" });
    // Not a page, not a redirect: a program reads what is wrong.
    else expect(JSON.parse(answer.text)).toMatchObject({ code: refused === 401 ? "unauthenticated" : "not_found" });

    const events = await actor.open(at("/events"));
    expect(events.statusCode).toBe(isIn ? 200 : refused);
    if (isIn) expect(String((await once(events, "data"))[0])).toBe("data: first\n\n");
    events.destroy();

    const socket = await actor.socket(at("/socket"));
    if (!isIn) return expect(socket).toBe(refused);
    if (!(socket instanceof WebSocket)) throw new Error(`refused with ${socket}`);
    socket.send("hello");
    expect(String((await once(socket, "message"))[0])).toBe("echo hello");
    socket.close();
  });
});

test("nothing of ours ever reached the user's server, and everything of its own did", async () => {
  const actor = await actorAt("the owner");
  actor.keep(new URL(at("/")).host, ["mine=2", "__Secure-dormouse.session_token=leak", "dormouse.session_token=leak"]);
  const own = { authorization: "Basic dTpw", "x-dormouse-user": "root", forwarded: "for=1.2.3.4", te: "trailers" };
  const { text, headers } = await actor.fetch(at("/"), { headers: own });
  const { headers: got } = JSON.parse(text) as { headers: Record<string, string> };
  expect(got).toMatchObject({
    authorization: "Basic dTpw",
    cookie: "own=1; mine=2",
    host: `${port}--w.${platformHost}`,
    "x-forwarded-host": `${port}--w.${platformHost}`,
    "x-forwarded-proto": "http",
    "x-forwarded-for": "127.0.0.1",
  });
  // What it sets is its own alone, and never under a name of ours.
  expect(headers["set-cookie"]).toEqual(["own=1; Path=/"]);
  const separate = await browsers.nobody.fetch(at("/"), {
    headers: { authorization: "Bearer of-its-own", "x-dormouse-authorization": `Bearer ${keys.owner}` },
  });
  expect(JSON.parse(separate.text).headers).toMatchObject({ authorization: "Bearer of-its-own" });

  expect(seen.length).toBeGreaterThan(50);
  const session = browsers.owner.cookieOf(platformHost) ?? "none";
  for (const { headers: received } of seen) {
    const all = JSON.stringify(received);
    expect(all).not.toMatch(/dormouse[.-](port|session)|dm[kl]_|leak|1\.2\.3\.4/);
    expect(all).not.toContain(session.split("=").at(-1));
    expect(received["x-dormouse-authorization"]).toBeUndefined();
  }
});

test("a person comes by the platform's sign-in and back to where they were, with a cookie of that origin alone", async () => {
  const visitor = new PortBrowser(gatewayUrl);
  const first = await eventually(303, () => visitor.fetch(at("/a?b=c"), { headers: { "sec-fetch-mode": "navigate" } }));
  const entry = new URL(first.headers.location ?? "");
  expect(entry.origin + entry.pathname).toBe(`http://${platformHost}/ports/enter`);
  expect(first.headers["set-cookie"]?.join()).not.toMatch(/domain/i);
  const asked = await visitor.fetch(entry.href);
  expect(asked.status).toBe(303);
  expect(asked.headers.location).toBe(`/signin?next=${encodeURIComponent(entry.pathname + entry.search)}`);

  visitor.keep(platformHost, (browsers.owner.cookieOf(platformHost) ?? "").split("; "));
  const back = await visitor.fetch(entry.href);
  const ticket = back.headers.location ?? "";
  // Stolen on its way it is worth nothing to another browser, and after that to nobody.
  const thief = new PortBrowser(gatewayUrl);
  expect((await thief.fetch(ticket)).status).toBe(401);
  expect((await visitor.fetch(ticket)).status).toBe(401);
  const arrived = await visitor.visit(at("/a?b=c"));
  expect(arrived.url).toBe(at("/a?b=c"));
  expect(JSON.parse(arrived.text)).toMatchObject({ url: "/a?b=c" });
  const [cookie = ""] = /dormouse-port=[\w-]{40,}/.exec(visitor.cookieOf(new URL(at("/")).host) ?? "") ?? [];
  expect(cookie).not.toBe("");

  // At another port of the same workspace, and as a credential of the platform, it is nothing.
  const other = await listen(userServer());
  const there = { headers: { cookie, host: "" } };
  there.headers.host = new URL(at("/", other)).host;
  expect((await visitor.fetch(at("/", other), there)).status).toBe(401);
  const asSession = cookie.replace("dormouse-port", "dormouse.session_token");
  expect((await thief.fetch(`http://${platformHost}/api/me`, { headers: { cookie: asSession } })).status).toBe(401);
  const stranger = await browsers.stranger.visit(at("/"));
  expect(stranger.status).toBe(404);
  expect(stranger.text).toContain("This does not open");
});

test("pages of other origins act on nothing with somebody's cookie", async () => {
  const actor = await actorAt("the owner");
  const foreign = { origin: "http://evil.test" };
  await eventually(403, () => actor.fetch(at("/"), { method: "POST", headers: foreign }));
  expect(await actor.socket(at("/socket"), foreign)).toBe(403);
  // Another port's page, which is of the same site where the domain is a real one, has an image loaded from here.
  const neighbour = { "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" };
  expect((await actor.fetch(at("/"), { headers: neighbour })).status).toBe(403);
  const followed = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
  expect((await actor.fetch(at("/"), { headers: followed })).status).toBe(200);
  const own = { origin: new URL(at("/")).origin };
  expect((await actor.fetch(at("/"), { method: "POST", headers: own })).status).toBe(200);
  await setPort({ visibility: "public" });
  await eventually(200, () => actor.fetch(at("/"), { method: "POST", headers: foreign }));
});

test("forged hosts are refused before anything is asked", async () => {
  await setPort({ visibility: "public" });
  const status = (headers: readonly string[], target = "/") =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(gatewayUrl).port), "127.0.0.1");
      socket.write(`GET ${target} HTTP/1.1\r\n${headers.join("\r\n")}\r\nconnection: close\r\n\r\n`);
      const chunks: Buffer[] = [];
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.once("error", reject);
      socket.once("end", () => resolve(/^HTTP\/1.1 (\d+)/.exec(Buffer.concat(chunks).toString())?.[1] ?? "none"));
    });
  const host = new URL(at("/")).host;
  expect(await status([`host: ${host}`])).toBe("200");
  expect(await status([`Host: ${host.toUpperCase()}`])).toBe("200");
  const before = seen.length;
  for (const wrong of [
    `${port}--w.${platformHost}.evil.test`,
    `${port}--w.evil.test`,
    `${port}--w.dormouse.test.:7070`,
    `${port}--w.dormouse.test`,
    `x.${platformHost}`,
    `0--w.${platformHost}`,
    `70000--w.${platformHost}`,
    `03000--w.${platformHost}`,
    `${port}--.${platformHost}`,
    `${port}--a.b.${platformHost}`,
    `${port}--w_.${platformHost}`,
  ]) {
    expect(await status([`host: ${wrong}`]), wrong).toBe("400");
  }
  expect(await status([`host: ${platformHost}`, `host: ${host}`])).toBe("400");
  expect(await status([`host: ${host}`, `x-forwarded-host: ${platformHost}`])).toBe("403");
  expect(await status([`host: ${host}`], `http://${platformHost}/api/me`)).toBe("400");
  expect(seen.length).toBe(before);
  expect(await status([`host: ${host}`, `x-forwarded-host: ${host}`])).toBe("200");
});

test("what is revoked is closed within five seconds: sockets, events, links, sign-ins", async () => {
  const open = async (actor: PortBrowser) => {
    const [socket, events] = [await actor.socket(at("/socket")), await actor.open(at("/events"))];
    if (!(socket instanceof WebSocket)) throw new Error(`refused with ${socket}`);
    events.resume();
    const closed = [once(socket, "close"), new Promise((resolve) => events.once("close", resolve))];
    events.on("error", () => {});
    return () => Promise.all(closed);
  };
  const withinFive = async (closed: () => Promise<unknown>, revoke: () => Promise<unknown>) => {
    await revoke();
    const beganMs = performance.now();
    await closed();
    expect(performance.now() - beganMs).toBeLessThan(5_000);
  };
  await setPort({ visibility: "organisation" });
  const colleague = await open(await actorAt("a colleague"));
  const owner = await open(await actorAt("the owner"));
  await withinFive(colleague, () => setPort({ visibility: "private" }));

  const made = await newLink();
  const kept = link;
  link = made;
  const byLink = [await open(await actorAt("a link's token")), await open(await actorAt("a link in a browser"))];
  link = kept;
  await withinFive(
    () => Promise.all(byLink.map((closed) => closed())),
    () => call("DELETE", `/workspaces/w/ports/${port}/links/${made.id}`),
  );
  expect((await call("GET", `/workspaces/w/ports/${port}/links`)).links).toMatchObject([{ id: kept.id }]);

  await setPort({ visibility: "organisation" });
  await withinFive(owner, () => setPort({ isForwarded: false }));
  const byKey = await actorAt("the owner's key");
  await eventually(404, () => byKey.fetch(at("/")));
  await setPort({ isForwarded: null });
  const again = await open(await actorAt("a colleague"));
  await withinFive(again, () =>
    browsers.colleague.fetch(`http://${platformHost}/api/auth/sign-out`, {
      method: "POST",
      headers: { origin: `http://${platformHost}`, "content-type": "application/json" },
      body: "{}",
    }),
  );
});

test("a request wakes a workspace that sleeps and is answered, unless its settings say otherwise", async () => {
  const actor = await actorAt("the owner's key");
  const sleep = () => call("POST", "/workspaces/w/hibernate");
  const state = async () => (await call("GET", "/workspaces/w")).state;
  await sleep();
  // The gateway's answer of a moment ago says that it is awake.
  expect((await actor.fetch(at("/"))).status).toBe(200);
  expect(await state()).toBe("running");
  await sleep();
  const socket = await actor.socket(at("/socket"));
  expect(socket).toBeInstanceOf(WebSocket);
  (socket as WebSocket).close();

  expect(await call("PATCH", "/workspaces/w", { wakeOn: { webSocket: false } })).toMatchObject({
    wakeOn: { http: true, webSocket: false },
  });
  await sleep();
  await vi.waitFor(async () => expect(await actor.socket(at("/socket"))).toBe(409), { timeout: 10_000 });
  expect(await state()).toBe("hibernated");
  expect((await actor.fetch(at("/"))).status).toBe(200);
  await call("PATCH", "/workspaces/w", { wakeOn: { http: false, webSocket: true } });
  await sleep();
  await vi.waitFor(
    async () => expect(JSON.parse((await actor.fetch(at("/"))).text)).toMatchObject({ code: "failed_precondition" }),
    { timeout: 10_000 },
  );
  expect(await state()).toBe("hibernated");
  await call("PATCH", "/workspaces/w", { wakeOn: { http: true } });
  await call("POST", "/workspaces/w/wake");
});

test("what nothing listens for, or what speaks something else, is told in one line", async () => {
  const actor = await actorAt("the owner's key");
  const gone = createServer();
  const closedPort = await listen(gone);
  gone.close();
  const mute = await listen(createHttp2Server());
  await setPort({ protocol: "https" });
  expect(JSON.parse((await actor.fetch(at("/"))).text)).toMatchObject({
    code: "unavailable",
    message: `what listens on port ${port} does not speak TLS: its protocol is not https`,
  });
  expect(JSON.parse((await actor.fetch(at("/", mute))).text).message).toMatch(
    /set the port's protocol|without an answer/,
  );
  expect((await actor.fetch(at("/", closedPort))).status).toBe(503);
});

test("servers that speak HTTP/2 or TLS are reached, also in HTTP/1.1", async () => {
  const actor = await actorAt("the owner's key");
  const answer = (incoming: { headers: Record<string, unknown>; httpVersion: string }) =>
    JSON.stringify({ version: incoming.httpVersion, host: incoming.headers[":authority"] ?? incoming.headers.host });
  const h2c = await listen(
    createHttp2Server(async (incoming, response) => {
      let bytes = 0;
      for await (const chunk of incoming) bytes += (chunk as Buffer).length;
      response.setHeader("bytes", bytes);
      response.end(answer(incoming));
    }),
  );
  await setPort({ protocol: "h2c" }, h2c);
  const posted = await actor.fetch(at("/", h2c), { method: "POST", body: "x".repeat(100_000) });
  expect(posted.headers.bytes).toBe("100000");
  expect(JSON.parse(posted.text)).toEqual({ version: "2.0", host: `${h2c}--w.${platformHost}` });

  const { stdout: pem } = await run("openssl", [
    ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=self-signed", "-keyout", "-", "-out", "-"],
  ]);
  const https = await listen(
    createHttpsServer({ key: pem, cert: pem }, (incoming, response) => response.end(answer(incoming))),
  );
  await setPort({ protocol: "https" }, https);
  expect(JSON.parse((await actor.fetch(at("/", https))).text)).toEqual({
    version: "1.1",
    host: `${https}--w.${platformHost}`,
  });
});

test("large bodies stream both ways, and a body without a length arrives whole", async () => {
  const actor = await actorAt("the owner's key");
  await eventually(200, () => actor.fetch(at("/")));
  const piece = randomBytes(1024 * 1024);
  const hash = createHash("sha256");
  const outgoing = request({
    ...{ host: "127.0.0.1", port: Number(new URL(gatewayUrl).port), path: "/upload", method: "PUT", agent: false },
    headers: { ...actor.headers, host: new URL(at("/")).host },
  });
  Readable.from(
    (function* () {
      for (let n = 0; n < 24; n++) {
        hash.update(piece);
        yield piece;
      }
    })(),
  ).pipe(outgoing);
  const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
  expect(Buffer.concat(await answer.toArray()).toString()).toBe(hash.digest("hex"));
});

test("a reader that does not read stops the writer: nothing is held but what sockets hold", async () => {
  const actor = await actorAt("the owner's key");
  const answer = await actor.open(at("/endless"));
  const standsStill = async () => {
    const before = endlessBytes;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return before > 0 && endlessBytes === before;
  };
  await vi.waitFor(async () => expect(await standsStill()).toBe(true), { timeout: 10_000 });
  expect(endlessBytes).toBeLessThan(64 * 1024 * 1024);
  const stood = endlessBytes;
  answer.resume();
  await vi.waitFor(() => expect(endlessBytes).toBeGreaterThan(2 * stood), { timeout: 10_000 });
  answer.destroy();
});

test("addresses of workspaces are their owner's for good, and told with the workspace", async () => {
  expect(await call("GET", "/workspaces/w")).toMatchObject({ portUrl: `http://{port}--w.${platformHost}` });
  await call("PATCH", "/workspaces/w", { name: "renamed" });
  expect(await call("GET", "/workspaces/renamed")).toMatchObject({ portUrl: `http://{port}--w.${platformHost}` });
  await call("PATCH", "/workspaces/renamed", { name: "w" });
  const theirs = (await platform.call("POST", "/api/workspaces", {
    body: { name: "w" },
    headers: { authorization: `Bearer ${keys.stranger}` },
  })) as unknown as { status: number; body: { portUrl: string; id: string } };
  expect(theirs.status).toBe(201);
  expect(theirs.body.portUrl).toMatch(/^http:\/\/\{port\}--w-[a-z]{5}\.dormouse\.test:7070$/);
});

test("what listens is listed with what was set; more than the policy allows is refused", async () => {
  const listening = { port: 5173, address: "127.0.0.1", pid: 7, process: "node", commandLine: "node vite" };
  platform.host.behaviour.ports = [listening];
  await setPort({ label: "my server", visibility: "organisation" });
  const { ports } = await call("GET", "/workspaces/w/ports");
  expect(ports).toEqual(
    expect.arrayContaining([
      {
        ...{ port: 5173, address: "127.0.0.1", pid: 7, process: "node", label: null, isListening: true },
        ...{ protocol: "http", visibility: "private", isForwarded: true, onAutoForward: "notify" },
        url: `http://5173--w.${platformHost}`,
      },
      expect.objectContaining({ port, label: "my server", visibility: "organisation", isListening: false }),
    ]),
  );
  const wrong = await platform.call("PATCH", `/api/workspaces/w/ports/${port}`, { body: { visibility: "everyone" } });
  expect(wrong.status).toBe(400);
  expect((await platform.call("PATCH", "/api/workspaces/w/ports/0", { body: {} })).status).toBe(400);
  const foreign = { headers: { authorization: `Bearer ${keys.stranger}` }, body: { visibility: "public" } };
  expect(
    (
      await platform.call(
        "PATCH",
        `/api/workspaces/${String((await call("GET", "/workspaces/w")).id)}/ports/80`,
        foreign,
      )
    ).status,
  ).toBe(404);
});

test("raw TCP: bytes both ways, each side ending its own direction, and a refusal that is told", async () => {
  const answer = randomBytes(3_000_000);
  const raw = await listen(
    createTcpServer({ allowHalfOpen: true }, (socket) => {
      const hash = createHash("sha256");
      socket.on("data", (chunk) => hash.update(chunk));
      socket.once("end", () => {
        socket.write(hash.digest());
        socket.end(answer);
      });
    }),
  );
  const connection = new Connection({ url: gatewayUrl, apiKey: keys.owner });
  const workspace = await Workspace.connect("w", { connection });
  const refusals: DormouseError[] = [];
  const onRefusal = (error: DormouseError) => refusals.push(error);
  await using forwarding = await forwardPort({ workspace, pair: { local: 0, remote: raw }, onRefusal });
  const sent = randomBytes(2_000_000);
  const ask = async () => {
    const socket = connect({ port: forwarding.localPort, host: "127.0.0.1", allowHalfOpen: true });
    socket.end(sent);
    return Buffer.concat(await socket.toArray());
  };
  for (const received of await Promise.all([ask(), ask()])) {
    expect(received.subarray(0, 32)).toEqual(createHash("sha256").update(sent).digest());
    expect(received.subarray(32).equals(answer)).toBe(true);
  }
  // It wakes as any request does.
  await call("POST", "/workspaces/w/hibernate");
  expect((await ask()).length).toBe(answer.length + 32);

  const stranger = new Connection({ url: gatewayUrl, apiKey: keys.stranger });
  const { headers, url } = stranger.tunnel(workspace.id, raw);
  const outgoing = request(url, { headers, agent: false });
  outgoing.end();
  const [refused] = (await once(outgoing, "response")) as [IncomingMessage];
  expect(refused.statusCode).toBe(404);
  refused.destroy();
  await expect(
    forwardPort({ workspace, pair: { local: forwarding.localPort, remote: raw }, onRefusal }),
  ).rejects.toThrow(`port ${forwarding.localPort} of this machine is taken; choose another: LOCAL:REMOTE`);
  expect(refusals).toEqual([]);
});

test("the command line and the Python client list, share and link ports", async () => {
  platform.host.behaviour.ports = [
    { port: 5173, address: "127.0.0.1", pid: 7, process: "node", commandLine: "node vite" },
  ];
  await call("POST", "/workspaces/w/wake");
  const access = { url: gatewayUrl, apiKey: keys.owner };
  const listed = await dormouse(access, ["ports", "w"]);
  expect(listed.stdout).toMatch(new RegExp(`5173 +- +node +http +private +http://5173--w\\.${platformHost}`));
  const shared = await dormouse(access, ["ports", "share", "w", "5173", "--visibility", "public"]);
  expect(shared.stdout).toBe(`Port 5173 is public, http: http://5173--w.${platformHost}\n`);
  await setPort({ isForwarded: false }, 5173);

  const script = `
import json
from dormouse import Workspace
ports = Workspace.connect("w").ports
found = ports.wait_for(5173, timeout_seconds=5)
assert not found["isForwarded"], found
assert ports.reset(5173)["visibility"] == "private"
assert ports.set(5173, label="web", protocol="h2c")["protocol"] == "h2c"
link = ports.create_link(5173, expires_in_seconds=60)
assert [each["id"] for each in ports.links(5173)] == [link["id"]]
ports.revoke_link(5173, link["id"])
assert ports.links(5173) == []
print(ports.url(5173))
`;
  const { stdout } = await run("python3", ["-c", script], {
    env: {
      ...process.env,
      PYTHONPATH: "packages/sdk-python",
      DORMOUSE_URL: gatewayUrl,
      DORMOUSE_API_KEY: keys.owner,
    },
  });
  expect(stdout).toBe(`http://5173--w.${platformHost}\n`);
});

test("who is not in the workspace's organisation any more is shut out, and so is a key for another one", async () => {
  await setPort({ visibility: "organisation" });
  const colleague = await actorAt("a colleague's key");
  await eventually(200, () => colleague.fetch(at("/")));
  await call("DELETE", "/organisations/one/members/colleague@x.test");
  await eventually(404, () => colleague.fetch(at("/")));
  await join("one", "colleague");
  await eventually(200, () => colleague.fetch(at("/")));
  const owner = new PortBrowser(gatewayUrl);
  for (const [organisation, status] of [
    ["one", 200],
    ["two", 404],
  ] as const) {
    const { key } = await call("POST", "/api-keys", { name: organisation, organisation });
    owner.headers = { authorization: `Bearer ${key}` };
    expect((await owner.fetch(at("/"))).status).toBe(status);
  }
});
