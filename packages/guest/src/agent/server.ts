import { timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { DormouseError, httpStatusOf, type Logger } from "@dormouse/base";
import { RPCHandler } from "@orpc/server/node";
import { RPCHandler as ChannelHandler } from "@orpc/server/ws";
import { type WebSocket, WebSocketServer } from "ws";
import { createCallHandler, maxMessageBytes } from "./calls.ts";
import { serveFile } from "./file-route.ts";
import { joinPort, portOf, portUpgrade } from "./port-route.ts";
import { createRouter, type Services } from "./router.ts";
import { convertErrors } from "./rpc-errors.ts";
import type { Session } from "./session.ts";

/** What may wait in a channel's buffer before its streams are held back. */
const channelBufferBytes = 1024 * 1024;
/** A channel whose client does not answer within this is closed: its machine may have slept. */
const pingMs = 30_000;

/** Calls that hold the agent up for everyone, or speak of what the host has begun. */
const hostCalls = new Set(["/machine/collectGarbage", "/exec/adopt"]);

/** What the agent's server is made of. */
export interface ServerOptions {
  session: Session;
  services: Services;
  logger: Logger;
}

/** The agent's HTTP server, not yet listening. Closing it closes every channel. */
export function createAgentServer({ session, services, logger }: ServerOptions) {
  const router = createRouter(services);
  const { activity } = services.machine;
  const handlersFor = (caller: "host" | "user") => {
    const around = (call: string, work: () => Promise<unknown>) => {
      if (caller === "user" && hostCalls.has(call)) {
        const refused = () => Promise.reject(new DormouseError("permission_denied", `${call} is the host's own call`));
        return convertErrors(refused, () => {});
      }
      // The host's own questions are no sign of a user.
      if (!call.startsWith("/machine/")) activity.lastRequestMs = Date.now();
      return convertErrors(work, (error) => logger.error("a call failed", { call, error }));
    };
    const handlerOptions = {
      clientInterceptors: [
        ({ path, next }: { path: readonly string[]; next: () => Promise<unknown> }) =>
          around(`/${path.join("/")}`, next),
      ],
    };
    return {
      rpc: new RPCHandler(router, handlerOptions),
      calls: createCallHandler(router, around),
      channels: new ChannelHandler(router, handlerOptions),
    };
  };
  const handlers = { host: handlersFor("host"), user: handlersFor("user") };
  const webSockets = new WebSocketServer({ noServer: true, maxPayload: maxMessageBytes, perMessageDeflate: false });

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = pathOf(request);
    if (path === "/health") return answer(response, 200, { ok: true });
    if (!isAuthorized(request, session))
      return refuse(response, 401, "unauthenticated", "the token is wrong or missing");
    if (path === "/file") return serveFileOrRefuse(services, request, response);
    if (Number(request.headers["content-length"] ?? 0) > maxMessageBytes) {
      return refuse(response, 413, "resource_exhausted", `a message has at most ${maxMessageBytes} bytes`);
    }
    const { rpc, calls } = handlers[callerOf(request)];
    if (path.startsWith("/rpc/") && (await calls(path.slice(4), request, response))) return;
    const { matched } = await rpc.handle(request, response, { prefix: "/rpc" });
    if (!matched) refuse(response, 404, "not_found", `nothing is at ${path}`);
  };

  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 300_000, noDelay: true }, (request, response) => {
    serve(request, response).catch((error) => {
      logger.error("a request failed", { path: pathOf(request), error });
      if (response.headersSent) return void response.destroy();
      if (error instanceof DormouseError) return refuse(response, httpStatusOf(error.code), error.code, error.message);
      refuse(response, 500, "internal", "something went wrong inside Dormouse; its log says what");
    });
  });

  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const port = request.headers.upgrade === portUpgrade ? portOf(pathOf(request)) : undefined;
    // A client that resets instead of reading what it is told must not end the agent.
    socket.on("error", () => socket.destroy());
    if (port !== undefined && isAuthorized(request, session)) {
      void joinPort(port, socket, head);
      return;
    }
    if (pathOf(request) !== "/channel" || !isAuthorized(request, session)) {
      socket.end("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      activity.channels++;
      webSocket.once("close", () => activity.channels--);
      webSocket.on("error", (error) => logger.warn("a channel failed", { error }));
      keepAlive(webSocket);
      void handlers[callerOf(request)].channels.upgrade(withBackPressure(webSocket), {});
    });
  });

  return Object.assign(server, {
    closeAll() {
      for (const webSocket of webSockets.clients) webSocket.terminate();
      server.close();
      server.closeAllConnections();
    },
  });
}

/** The host marks what it passes on for somebody; what it asks itself has no mark. */
function callerOf(request: IncomingMessage): "host" | "user" {
  return request.headers["x-dormouse-caller"] === undefined ? "host" : "user";
}

async function serveFileOrRefuse(services: Services, request: IncomingMessage, response: ServerResponse) {
  services.machine.activity.lastRequestMs = Date.now();
  try {
    await serveFile(services.files, request, response);
  } catch (error) {
    // A body that is broken off is the only way to say it once the head has gone; a client that left hears nothing.
    if (response.headersSent || request.destroyed) return void response.destroy();
    const { code, message } = DormouseError.from(error);
    // What is still coming of an upload is read and dropped: closing the connection now could overtake the answer.
    request.resume();
    refuse(response, httpStatusOf(code), code, message);
  }
}

function isAuthorized(request: IncomingMessage, session: Session): boolean {
  // Whoever was given the machine a moment ago is its owner, and nobody who was before.
  session.refresh();
  const given = Buffer.from(request.headers.authorization ?? "");
  const wanted = Buffer.from(`Bearer ${session.token}`);
  return session.token.length > 0 && given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** oRPC waits for what `send` returns before it takes the next event of a stream. */
function withBackPressure(webSocket: WebSocket): WebSocket {
  const send = (data: string | Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      const isFull = webSocket.bufferedAmount > channelBufferBytes;
      webSocket.send(data, (error) => {
        if (error) reject(error);
        else if (isFull) resolve();
      });
      if (!isFull) resolve();
    });
  const addEventListener = webSocket.addEventListener.bind(webSocket);
  return { send, addEventListener } as unknown as WebSocket;
}

function keepAlive(webSocket: WebSocket): void {
  let isAlive = true;
  webSocket.on("pong", () => {
    isAlive = true;
  });
  const timer = setInterval(() => {
    if (!isAlive) return webSocket.terminate();
    isAlive = false;
    webSocket.ping();
  }, pingMs);
  webSocket.once("close", () => clearInterval(timer));
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? "/";
  const query = url.indexOf("?");
  return query < 0 ? url : url.slice(0, query);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  answer(response, status, { code, message, details: {} });
}
