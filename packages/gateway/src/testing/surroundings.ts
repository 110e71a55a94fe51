import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { createLogger, type Disposer, DormouseError } from "@dormouse/base";
import { convertRpcErrors, internalContract, machineAwayHeader } from "@dormouse/contract";
import { implement } from "@orpc/server";
import { RPCHandler } from "@orpc/server/node";
import { WebSocketServer } from "ws";
import { type GatewayConfig, gatewayConfig } from "../config.ts";
import { type Gateway, startGateway } from "../gateway.ts";

/** A gateway with servers around it that stand in for control and a host; everything between them is real HTTP. */
export interface Surroundings {
  gateway: Gateway;
  /** What it was started with, for a second one. */
  config: GatewayConfig;
  /** The host loses its power: its port closes, and every connection with it. */
  killHost(): void;
  /** Requests that reached the servers behind. */
  seen: { to: "control" | "host"; request: IncomingMessage }[];
  /** How often control was asked who may enter. */
  resolved(): number;
}

/** The only key that is let in, to workspace `w1` alone. */
export const key = "Bearer dmk_test";
const internalToken = "internal-token-of-tests";

/** Starts {@link Surroundings}; `onHost` and `onControl` answer what arrives behind. */
export async function startSurroundings(
  resources: Disposer,
  options: {
    onHost?: (request: IncomingMessage, response: ServerResponse) => void;
    onControl?: (request: IncomingMessage, response: ServerResponse) => void;
    /** Asked for each request with a body before the host takes it. */
    isAway?: () => boolean;
  } = {},
): Promise<Surroundings> {
  const seen: Surroundings["seen"] = [];
  let resolutions = 0;
  const host = createServer((request, response) => {
    seen.push({ to: "host", request });
    options.onHost?.(request, response);
  });
  host.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    if (options.isAway?.()) return void response.writeHead(503, { [machineAwayHeader]: "1" }).end("{}");
    response.writeContinue();
    host.emit("request", request, response);
  });
  const sockets = new WebSocketServer({ server: host });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const hostSockets = new Set<Socket>();
  host.on("connection", (socket) => {
    hostSockets.add(socket);
    socket.once("close", () => hostSockets.delete(socket));
  });
  const killHost = () => {
    host.close();
    for (const socket of hostSockets) socket.destroy();
  };
  const hostUrl = await listen(resources, host);

  const control = createServer((request, response) => {
    seen.push({ to: "control", request });
    if (options.onControl) options.onControl(request, response);
    else response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  const controlUrl = await listen(resources, control);

  const internal = implement(internalContract).use(({ next }) => convertRpcErrors(() => next()));
  const handler = new RPCHandler({
    resolve: internal.resolve.handler(({ input }) => {
      resolutions++;
      if (input.authorization !== key && !input.cookie?.includes("session_token=good")) {
        throw new DormouseError("unauthenticated", "sign in");
      }
      if (input.workspace !== "w1") throw new DormouseError("not_found", `you have no workspace "${input.workspace}"`);
      return { userId: "u1", workspaceId: "ws-1", state: "running" as const, hostUrl, hostToken: "host-token" };
    }),
  });
  const internalServer = createServer((request, response) => {
    handler.handle(request, response, { prefix: "/rpc", context: {} }).catch((error: Error) => response.destroy(error));
  });
  const internalUrl = await listen(resources, internalServer);

  const pages = await mkdtemp(join(tmpdir(), "dm-gateway-"));
  resources.add(() => rm(pages, { recursive: true, force: true }));
  for (const page of ["workbench", "console"]) {
    await mkdir(join(pages, page, "assets"), { recursive: true });
    await writeFile(join(pages, page, "index.html"), `<!doctype html><title>${page}</title>`);
  }
  await writeFile(join(pages, "secret"), "secret");
  await writeFile(join(pages, "workbench", "assets", "main-Ab12_-xy.js"), "export {};");
  await writeFile(join(pages, "workbench", "assets", "main-Ab12_-xy.js.br"), "brotli");
  const config = gatewayConfig.parse({
    listen: {},
    controlUrl,
    internalUrl,
    internalToken,
    publicUrl: "http://dormouse.test",
    workbenchDir: join(pages, "workbench"),
    consoleDir: join(pages, "console"),
  });
  const gateway = await startGateway(
    config,
    createLogger({ level: "error", write: (line) => process.stderr.write(`${line}\n`) }),
  );
  resources.add(async () => gateway[Symbol.asyncDispose]());
  return { gateway, config, killHost, seen, resolved: () => resolutions };
}

async function listen(resources: Disposer, server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const upgraded = new Set<Duplex>();
  server.on("upgrade", (_request, socket: Duplex) => upgraded.add(socket));
  resources.add(async () => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    for (const socket of upgraded) socket.destroy();
    await closed;
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
