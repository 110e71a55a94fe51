import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request as requestUpstream, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { DormouseError, disposer, httpStatusOf } from "@dormouse/base";
import type { CreateWorkspace, UnpushedWork, Workspace } from "@dormouse/contract";
import { buildGuest } from "@dormouse/guest";

/**
 * The public API over one real agent that runs on this host, without a machine around
 * it: its files and processes are the host's. For tests of clients, which need the
 * agent's behaviour and not its isolation.
 */
export interface LocalMachine extends AsyncDisposable {
  url: string;
  apiKey: string;
  /** A folder of its own for the test's files. */
  folder: string;
  /** What was created and not deleted. */
  workspaces: Map<string, Workspace>;
  /** Cuts every connection, as a restarting gateway does; new ones are refused for `refuseMs`. */
  cut(refuseMs?: number): Promise<void>;
  /** Requests so far, as `POST /api/…`. */
  requests: string[];
}

/** Starts it on a free port. */
export async function startLocalMachine(): Promise<LocalMachine> {
  const stack = disposer();
  try {
    const folder = await mkdtemp(join(tmpdir(), "dormouse-client-"));
    stack.add(() => rm(folder, { recursive: true, force: true }));
    const agentPort = await startAgent(folder, stack);
    const apiKey = randomBytes(16).toString("hex");
    const front = createFront({ apiKey, folder, agentPort });
    front.server.listen(0, "127.0.0.1");
    await once(front.server, "listening");
    const { port } = front.server.address() as AddressInfo;
    stack.add(async () => {
      front.cutAll();
      front.server.close();
    });
    return {
      url: `http://127.0.0.1:${port}`,
      apiKey,
      folder,
      workspaces: front.workspaces,
      requests: front.requests,
      async cut(refuseMs = 0) {
        front.server.close();
        front.cutAll();
        await once(front.server, "close");
        setTimeout(() => front.server.listen(port, "127.0.0.1"), refuseMs);
      },
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

const agentToken = randomBytes(16).toString("hex");

async function startAgent(folder: string, stack: ReturnType<typeof disposer>): Promise<number> {
  const programs = await buildGuest({ cacheDir: process.env.DORMOUSE_CACHE ?? join(tmpdir(), "dormouse-test-cache") });
  const socket = join(folder, "spawn.sock");
  const spawner = spawn(programs.initBinary, ["--spawner", socket, "--user-default", "root"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  stack.add(() => end(spawner));
  await once(spawner.stdout, "data");
  const agentPort = await freePort();
  const identityFile = join(folder, "identity");
  await writeFile(identityFile, `${agentToken}\n`);
  const agent = spawn(process.execPath, [programs.agentFile], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      PATH: process.env.PATH,
      DORMOUSE_ROOT: "/",
      DORMOUSE_SPAWN_SOCKET: socket,
      DORMOUSE_IDENTITY_FILE: identityFile,
      DORMOUSE_LISTEN_HOST: "127.0.0.1",
      DORMOUSE_LISTEN_PORT: String(agentPort),
    },
  });
  stack.add(() => end(agent));
  let log = "";
  for await (const chunk of agent.stderr) {
    log += chunk;
    if (log.includes("the agent listens")) break;
  }
  if (!log.includes("the agent listens")) throw new DormouseError("internal", `the agent did not start: ${log}`);
  agent.stderr.resume();
  return agentPort;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

function createFront({ apiKey, folder, agentPort }: { apiKey: string; folder: string; agentPort: number }) {
  const workspaces = new Map<string, Workspace>();
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const authorize = (request: IncomingMessage) => {
    if (request.headers.authorization !== `Bearer ${apiKey}`) {
      throw new DormouseError("unauthenticated", "the API key is wrong or missing");
    }
  };
  server.on("request", async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? "/", "http://front");
    requests.push(`${request.method} ${pathname}`);
    try {
      authorize(request);
      const [, reference = "", rest = ""] = /^\/api\/workspaces\/([^/]+)\/guest(\/.*)$/.exec(pathname) ?? [];
      if (rest) {
        find(workspaces, decodeURIComponent(reference));
        return proxy(request, response, agentPort, agentPath(request));
      }
      await serveApi({ request, response, pathname, workspaces, folder });
    } catch (caught) {
      const error = DormouseError.from(caught);
      answer(response, httpStatusOf(error.code), error.toJSON());
    }
  });
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    requests.push(`UPGRADE ${request.url}`);
    const upstream = connect(agentPort, "127.0.0.1");
    const headers = { ...request.headers, authorization: `Bearer ${agentToken}` };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    upstream.write(`GET ${agentPath(request)} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
    upstream.write(head);
    upstream.pipe(socket).pipe(upstream);
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  const cutAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return { server, workspaces, requests, cutAll };
}

/** The path behind `…/guest`, byte for byte: names need not be UTF-8. */
function agentPath(request: IncomingMessage): string {
  return (request.url ?? "/").replace(/^\/api\/workspaces\/[^/]+\/guest/, "");
}

function proxy(request: IncomingMessage, response: ServerResponse, port: number, path: string): void {
  const headers = { ...request.headers, authorization: `Bearer ${agentToken}` };
  const upstream = requestUpstream({ host: "127.0.0.1", port, method: request.method, path, headers }, (from) => {
    response.writeHead(from.statusCode ?? 502, from.headers);
    from.pipe(response);
  });
  upstream.on("error", () => response.destroy());
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
}

interface ApiCall {
  request: IncomingMessage;
  response: ServerResponse;
  pathname: string;
  workspaces: Map<string, Workspace>;
  folder: string;
}

async function serveApi({ request, response, pathname, workspaces, folder }: ApiCall): Promise<void> {
  const [, reference, action] = /^\/api\/workspaces(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(pathname) ?? [];
  const body = request.method === "GET" ? {} : JSON.parse((await text(request)) || "{}");
  if (pathname === "/api/me") return answer(response, 200, { id: "u", name: "Ada", email: "ada@example.com" });
  if (pathname === "/api/workspaces" && request.method === "POST") {
    const created = create(body, workspaces, folder);
    return answer(response, 201, body.wait === false ? { ...created, state: "creating" } : created);
  }
  if (pathname === "/api/workspaces") return answer(response, 200, { workspaces: [...workspaces.values()] });
  if (reference === undefined) throw new DormouseError("not_found", `nothing is at ${pathname}`);
  const workspace = find(workspaces, decodeURIComponent(reference));
  if (request.method === "DELETE") {
    workspaces.delete(workspace.id);
    return answer(response, 200, {});
  }
  if (request.method === "PATCH") {
    const { ttlSeconds } = body as { ttlSeconds?: number | null };
    workspace.expiresAt = ttlSeconds ? new Date(Date.now() + ttlSeconds * 1000).toISOString() : null;
  }
  if (action === "unpushed") return answer(response, 200, { work: workOf(workspace) });
  if (action === "hibernate") workspace.state = "hibernated";
  if (action === "wake") workspace.state = "running";
  if (action === "logs") {
    const transitions = [{ at: workspace.createdAt, state: "running", reason: null }];
    return answer(response, 200, { transitions, console: "Linux\n", setup: "" });
  }
  if (action !== "events") return answer(response, 200, workspace);
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (event: unknown) => response.write(`event: message\ndata: ${JSON.stringify(event)}\n\n`);
  send({ type: "progress", step: "restore", message: "Restoring the machine" });
  if (workspace.template === "stuck") return;
  send({ type: "state", workspace });
}

/** One called `dirty` has work that is pushed nowhere. */
function workOf({ name }: Workspace): UnpushedWork | null {
  const at = new Date().toISOString();
  return name === "dirty" ? { at, branch: "main", changedFiles: 3, commits: 1, stashes: 0 } : null;
}

/** Template `broken` fails, `stuck` never gets ready; a name that is taken is refused. */
function create(body: Partial<CreateWorkspace>, workspaces: Map<string, Workspace>, folder: string): Workspace {
  const { name = "quiet-otter", template = "base", ttlSeconds, repository = null, ref = null } = body;
  for (const other of workspaces.values()) {
    if (other.name === name)
      throw new DormouseError("already_exists", `name is ${name}: there is a workspace of that name`);
  }
  if (template === "missing")
    throw new DormouseError("not_found", "template is missing: there are base", { details: {} });
  const id = `ws-${randomUUID()}`;
  const isBroken = template === "broken";
  const workspace: Workspace = {
    id,
    name,
    owner: "ada",
    organisation: "personal",
    state: isBroken ? "failed" : "running",
    reason: isBroken ? "the machine did not answer" : null,
    template,
    repository,
    ref,
    folder: body.folder ?? folder,
    resources: { vcpus: 1, memoryMib: 1024, diskGib: 16 },
    isolation: "emulation",
    createdAt: new Date().toISOString(),
    startedAt: new Date().toISOString(),
    expiresAt: ttlSeconds ? new Date(Date.now() + Number(ttlSeconds) * 1000).toISOString() : null,
    hibernateAfterSeconds: null,
    deleteAfterSeconds: null,
    wakeOn: { http: true, webSocket: true },
    portUrl: null,
    keptAwakeBy: null,
    snapshotAt: null,
    forkedFrom: null,
    devcontainer: null,
    url: `http://127.0.0.1/w/${name}`,
  };
  workspaces.set(id, workspace);
  return workspace;
}

function find(workspaces: Map<string, Workspace>, reference: string): Workspace {
  for (const workspace of workspaces.values()) {
    if (workspace.id === reference || workspace.name === reference) return workspace;
  }
  throw new DormouseError("not_found", `workspace is ${reference}: there is none of that name or id`);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
