import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { disposer } from "@dormouse/base";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { key, startSurroundings } from "./testing/surroundings.ts";

let resources = disposer();
afterEach(async () => {
  await resources[Symbol.asyncDispose]();
  resources = disposer();
});

const authorization = key;
const cookie = "dormouse.session_token=good";

test("passes a guest request on with the host's token, and nothing that says who asks", async () => {
  const { gateway, seen } = await startSurroundings(resources, {
    onHost: (_request, response) =>
      response.writeHead(200, { "set-cookie": "a=b", "content-type": "text/html" }).end("hi"),
  });
  const response = await fetch(`${gateway.url}/api/workspaces/w1/guest/file?path=/etc/x`, {
    headers: { cookie, "x-forwarded-for": "1.2.3.4", "x-dormouse-user": "root" },
  });
  expect(await response.text()).toBe("hi");
  const [{ request } = { request: undefined }] = seen;
  expect(request?.url).toBe("/machines/ws-1/guest/file?path=/etc/x");
  expect(request?.headers).toMatchObject({ authorization: "Bearer host-token" });
  expect(Object.keys(request?.headers ?? {})).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/^(cookie|x-forwarded-for|x-dormouse-user)$/)]),
  );
  expect(response.headers.get("set-cookie")).toBeNull();
  // A page of somebody's repository must not run on the platform's origin.
  expect(response.headers.get("content-security-policy")).toContain("sandbox");
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
});

test("lets nobody in who has no right to, and no path out of the machine's", async () => {
  const { gateway, seen } = await startSurroundings(resources);
  const status = async (path: string, headers: Record<string, string>, method = "GET") => {
    const response = await fetch(gateway.url + path, { headers, method });
    return { status: response.status, code: ((await response.json()) as { code: string }).code };
  };
  expect(await status("/api/workspaces/w1/guest/x", {})).toEqual({ status: 401, code: "unauthenticated" });
  expect(await status("/api/workspaces/w2/guest/x", { authorization })).toEqual({ status: 404, code: "not_found" });
  expect(await status("/api/workspaces/w1/guest/x", { cookie }, "POST")).toEqual({
    status: 403,
    code: "permission_denied",
  });
  const foreign = { cookie, origin: "http://127.0.0.1:1" };
  expect((await status("/api/workspaces/w1/guest/x", foreign, "POST")).status).toBe(403);
  expect((await status("/api/workspaces/w1/guest/..%2f..%2frpc", { authorization })).status).toBe(400);
  expect(seen).toEqual([]);

  // fetch would resolve the dots itself.
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  socket.end(
    `GET /api/workspaces/w1/guest/../../../../rpc/x HTTP/1.1\r\nhost: a\r\nauthorization: ${key}\r\nconnection: close\r\n\r\n`,
  );
  const answer = String(Buffer.concat(await Readable.from(socket).toArray()));
  expect(answer).toMatch(/^HTTP\/1.1 404 /);
  expect(seen).toEqual([]);
});

test("streams large bodies both ways, in a process whose memory does not follow", async () => {
  const { config } = await startSurroundings(resources, {
    onHost: (request, response) => request.pipe(response.writeHead(200)),
  });
  const child = fork(new URL("main.ts", import.meta.url), {
    env: { ...process.env, DORMOUSE_GATEWAY: JSON.stringify(config) },
  });
  resources.add(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const [ready] = (await once(child, "message")) as [{ type: string; url: string }];
  expect(ready.type).toBe("ready");
  const peakBytes = () => {
    const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  };
  const before = peakBytes();
  const piece = randomBytes(1024 * 1024);
  const pieces = 288;
  const sent = createHash("sha256");
  const body = Readable.from(
    (function* () {
      for (let n = 0; n < pieces; n++) {
        sent.update(piece);
        yield piece;
      }
    })(),
  );
  const response = await fetch(`${ready.url}/api/workspaces/w1/guest/file`, {
    method: "PUT",
    headers: { authorization },
    body,
    duplex: "half",
  });
  const received = createHash("sha256");
  for await (const chunk of response.body ?? []) received.update(chunk as Uint8Array);
  expect(received.digest("hex")).toBe(sent.digest("hex"));
  expect(peakBytes() - before).toBeLessThan((pieces * piece.length) / 2);

  // It ends with the process that started it, however that ends.
  child.disconnect();
  expect(await once(child, "exit")).toEqual([0, null]);
});

test("joins WebSockets, and ends them when the host vanishes or the gateway stops", async () => {
  const { gateway, killHost, seen } = await startSurroundings(resources);
  const address = `${gateway.url.replace("http", "ws")}/api/workspaces/w1/guest/channel`;
  const open = async (headers: Record<string, string>) => {
    const socket = new WebSocket(address, { headers });
    await once(socket, "open");
    return socket;
  };
  const first = await open({ authorization });
  const message = randomBytes(3 * 1024 * 1024);
  first.send(message);
  const [echo] = (await once(first, "message")) as [Buffer];
  expect(echo.equals(message)).toBe(true);
  expect(seen.every(({ request }) => request.headers.cookie === undefined)).toBe(true);

  await expect(open({ cookie, origin: "http://evil.test" })).rejects.toThrow("403");
  await expect(open({})).rejects.toThrow("401");
  const second = await open({ cookie, origin: gateway.url });

  const closed = [once(first, "close"), once(second, "close")];
  killHost();
  await Promise.all(closed);
  const refused = await fetch(`${gateway.url}/api/workspaces/w1/guest/x`, { headers: { authorization } });
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({
    code: "unavailable",
    message: "the workspace's machine cannot be reached now",
  });
});

test("asks control once for what comes together, and again after the machine was gone", async () => {
  let status = 200;
  const { gateway, resolved } = await startSurroundings(resources, {
    onHost: (_request, response) => response.writeHead(status).end(),
  });
  const ask = () => fetch(`${gateway.url}/api/workspaces/w1/guest/x`, { headers: { authorization } });
  await Promise.all([ask(), ask(), ask()]);
  await ask();
  expect(resolved()).toBe(1);
  status = 404;
  await ask();
  await ask();
  expect(resolved()).toBe(2);
});

test("asks control again for a machine that fell asleep a moment ago, and sends the whole body then", async () => {
  const bodies: string[] = [];
  let asked = 0;
  const { gateway, resolved } = await startSurroundings(resources, {
    isAway: () => ++asked === 1,
    onHost: async (request, response) => {
      bodies.push(String(Buffer.concat(await request.toArray())));
      response.end("awake");
    },
  });
  const response = await fetch(`${gateway.url}/api/workspaces/w1/guest/x`, {
    method: "PUT",
    headers: { authorization },
    body: "all of it",
  });
  expect([response.status, await response.text()]).toEqual([200, "awake"]);
  expect(bodies).toEqual(["all of it"]);
  expect(resolved()).toBe(2);
});

test("tells control where a request really came from, and streams events", async () => {
  const { gateway, seen } = await startSurroundings(resources, {
    onControl: (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
    },
  });
  const stop = new AbortController();
  const response = await fetch(`${gateway.url}/api/workspaces/w1/events`, {
    headers: { authorization, "x-forwarded-for": "6.6.6.6", "x-forwarded-host": "evil.test" },
    signal: stop.signal,
  });
  const reader = response.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("data: 1\n\n");
  const [{ request } = { request: undefined }] = seen;
  expect(request?.headers).toMatchObject({
    authorization,
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": new URL(gateway.url).host,
    "x-forwarded-proto": "http",
  });
  const gone = once(request?.socket as NodeJS.EventEmitter, "close");
  stop.abort();
  await gone;
});

test("serves pages with a strict policy, and assets from their folder only", async () => {
  const { gateway } = await startSurroundings(resources);
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(gateway.url + path, { headers, redirect: "manual" });
  const page = await get("/w/ws-1", { cookie });
  expect(await page.text()).toContain("<title>workbench</title>");
  const policy = page.headers.get("content-security-policy");
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).toContain(`ws://${new URL(gateway.url).host}`);
  expect(page.headers.get("cache-control")).toBe("no-cache");
  const again = await get("/w/ws-1", { cookie, "if-none-match": page.headers.get("etag") ?? "" });
  expect(again.status).toBe(304);

  const stranger = await get("/w/ws-1");
  expect([stranger.status, stranger.headers.get("location")]).toEqual([302, "/signin?next=%2Fw%2Fws-1"]);
  expect(await (await get("/signin")).text()).toContain("<title>console</title>");
  expect(await (await get("/join")).text()).toContain("<title>console</title>");

  const asset = await get("/workbench/assets/main-Ab12_-xy.js", { "accept-encoding": "identity" });
  expect(await asset.text()).toBe("export {};");
  expect(asset.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
  expect(asset.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
  const compressed = await get("/workbench/assets/main-Ab12_-xy.js", { "accept-encoding": "gzip, br" });
  expect(compressed.headers.get("content-encoding")).toBe("br");
  await compressed.body?.cancel().catch(() => {});

  for (const path of ["/workbench/..%2fsecret", "/workbench/%2e%2e%2fsecret", "/workbench/nothing", "/secret"]) {
    expect((await get(path)).status, path).toBe(404);
  }
});
