import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { extname, join } from "node:path";
import type { UserSettings, Workspace } from "@dormouse/contract";
import { assetHeaders, pageHeaders, toClient } from "../../packages/gateway/src/headers.ts";
import type { TestMachine } from "./workbench-machine.ts";

/** A door to one test machine: the page, the few REST calls it makes, and the way to the agent. */
export interface TestDoor extends AsyncDisposable {
  port: number;
  origin: string;
  /** The workspace as the API tells it; may be changed. */
  workspace: Workspace;
  /** What the page saved for its user. */
  settings: UserSettings;
  /** What the workspace's definition asks to reach and nobody has allowed yet, and what was allowed. */
  egress: { proposed: string[]; allowed: string[] };
  /** How often the page asked to wake the workspace. */
  wakes: number;
  /** Cuts every connection and refuses new ones until `restore`; with `keepApi` only those to the agent. */
  cut(options?: { keepApi?: boolean }): void;
  restore(): void;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".ttf": "font/ttf",
};

/** A control that knows the person's extensions; otherwise they have none. */
export interface TestControl {
  url: string;
  apiKey: string;
}

/** Opens the door, on a free port unless one is named. `dist` is the built page. */
export async function openDoor(
  machine: TestMachine,
  dist: string,
  folder: string,
  wantedPort = 0,
  platform?: TestControl,
): Promise<TestDoor> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let isApiCut = false;
  const door = {
    workspace: workspaceAt(folder),
    settings: { settings: "{}", keybindings: "[]" },
    egress: { proposed: [] as string[], allowed: [] as string[] },
    wakes: 0,
  };

  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) => {
      response.writeHead(500).end(JSON.stringify({ code: "internal", message: String(error), details: {} }));
    });
  });

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname } = new URL(request.url ?? "/", "http://door");
    const json = (status: number, body: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const guest = /^\/api\/workspaces\/[^/]+\/guest(\/.*)$/.exec(request.url ?? "");
    if (guest?.[1]) return pass(request, response, guest[1]);
    if (pathname === "/api/me/settings") {
      if (request.method === "PUT") Object.assign(door.settings, JSON.parse(await textOf(request)));
      json(200, door.settings);
    } else if (platform && /^\/api\/(me\/extensions|extensions|gallery)(\/|$)/.test(pathname)) {
      return passToPlatform(request, response, platform);
    } else if (pathname === "/api/me/extensions") {
      json(200, { gallery: false, extensions: [] });
    } else if (/^\/api\/workspaces\/[^/]+\/egress(\/allow)?$/.test(pathname)) {
      if (request.method === "POST") {
        const { rules } = JSON.parse(await textOf(request)) as { rules: string[] };
        door.egress.allowed.push(...rules);
        door.egress.proposed = door.egress.proposed.filter((rule) => !rules.includes(rule));
      }
      const layers = { installation: {}, template: {}, repository: {}, workspace: { allow: door.egress.allowed } };
      const policy = { mode: "restricted", allow: door.egress.allowed, deny: [], caps: [] };
      json(200, { policy, layers, proposed: door.egress.proposed, counters: null });
    } else if (/^\/api\/workspaces\/[^/]+(\/wake)?$/.test(pathname)) {
      if (pathname.endsWith("/wake")) {
        door.wakes++;
        door.workspace.state = "running";
      }
      if (isApiCut) json(503, { code: "unavailable", message: "the platform restarts", details: {} });
      else json(200, door.workspace);
    } else if (pathname.startsWith("/w/")) await file(response, join(dist, "index.html"), request.headers.host);
    else if (pathname.startsWith("/workbench/"))
      await file(response, join(dist, pathname.slice("/workbench/".length)), request.headers.host);
    else json(404, { code: "not_found", message: `nothing is at ${pathname}`, details: {} });
  };

  const file = async (response: ServerResponse, path: string, host: string | undefined): Promise<void> => {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const isAsset = path.includes("/assets/");
    response.writeHead(200, {
      ...(isAsset ? assetHeaders(path, host) : pageHeaders(host)),
      "content-type": types[extname(path)] ?? "application/octet-stream",
      "cache-control": isAsset ? "public, max-age=31536000, immutable" : "no-cache",
    });
    createReadStream(path).pipe(response);
  };

  /** As the gateway does, with the person's key in the place of a cookie that only the page would send. */
  const passToPlatform = (request: IncomingMessage, response: ServerResponse, { url, apiKey }: TestControl): void => {
    const { origin: _, authorization: __, ...headers } = request.headers;
    const isKnown = request.headers["sec-fetch-site"] === "same-origin";
    const onward = httpRequest(
      `${url}${request.url ?? ""}`,
      {
        method: request.method,
        headers: {
          ...{ ...headers, "x-forwarded-host": request.headers.host, "x-forwarded-proto": "http" },
          ...(isKnown && { authorization: `Bearer ${apiKey}` }),
        },
      },
      (answered) => {
        response.writeHead(answered.statusCode ?? 502, toClient(answered.headers, "control"));
        answered.pipe(response);
      },
    );
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  };

  const pass = (request: IncomingMessage, response: ServerResponse, path: string): void => {
    if (isCut) {
      response
        .writeHead(503)
        .end(JSON.stringify({ code: "unavailable", message: "the platform restarts", details: {} }));
      return;
    }
    const headers = { ...request.headers, authorization: `Bearer ${machine.token}` };
    const onward = httpRequest(`${machine.url}${path}`, { method: request.method, headers }, (answered) => {
      response.writeHead(answered.statusCode ?? 502, answered.headers);
      answered.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  };

  server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
    const guest = /^\/api\/workspaces\/[^/]+\/guest(\/.*)$/.exec(request.url ?? "");
    if (isCut || !guest?.[1]) {
      socket.end("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const { hostname, port } = new URL(machine.url);
    const onward = connect(Number(port), hostname, () => {
      const kept = Object.entries(request.headers).map(([name, value]) => `${name}: ${String(value)}`);
      const lines = [`GET ${guest[1]} HTTP/1.1`, ...kept, `authorization: Bearer ${machine.token}`, "", ""];
      onward.write(lines.join("\r\n"));
      onward.pipe(socket).pipe(onward);
    });
    for (const end of [socket, onward]) {
      sockets.add(end);
      end.on("error", () => end.destroy());
      end.on("close", () => {
        sockets.delete(end);
        socket.destroy();
        onward.destroy();
      });
    }
  });

  await new Promise<void>((resolve) => server.listen(wantedPort, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return Object.assign(door, {
    port,
    origin: `http://127.0.0.1:${port}`,
    cut({ keepApi = false } = {}) {
      isCut = true;
      isApiCut = !keepApi;
      for (const socket of sockets) socket.destroy();
    },
    restore() {
      isCut = false;
      isApiCut = false;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

async function textOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

function workspaceAt(folder: string): Workspace {
  return {
    id: "ws-0123456789abcdefghjk",
    name: "calm-otter",
    owner: "user-1",
    organisation: "personal",
    state: "running",
    reason: null,
    template: "base",
    repository: null,
    ref: null,
    folder,
    resources: { vcpus: 1, memoryMib: 1024, diskGib: 16 },
    isolation: "emulation",
    createdAt: "2026-11-22T06:00:00.000Z",
    startedAt: "2026-11-22T06:00:00.000Z",
    expiresAt: null,
    hibernateAfterSeconds: null,
    deleteAfterSeconds: null,
    wakeOn: { http: true, webSocket: true },
    portUrl: null,
    keptAwakeBy: null,
    snapshotAt: null,
    forkedFrom: null,
    devcontainer: null,
    url: "/w/calm-otter",
  };
}
