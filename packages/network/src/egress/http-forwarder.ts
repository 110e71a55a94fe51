import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { DormouseError, type Logger } from "@dormouse/base";
import { formatIpv4 } from "../ipv4.ts";
import type { Decision } from "../policy/policy.ts";
import { normalName } from "../policy/rule.ts";
import type { ProxiedFlow } from "./proxy.ts";

const upstreamTimeoutMs = 300_000;
const lineTimeoutMs = 5_000;
const maxLineBytes = 16;
/** Said hop by hop (RFC 9110 7.6.1): each side has its own. */
const hopHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Passes HTTP on, request by request: each names its host, and a connection may carry many. */
export interface HttpForwarder extends AsyncDisposable {
  /** Of its socket in the abstract namespace (unix(7)), without the zero at the beginning. */
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whether bytes can be the beginning of an HTTP/1 request. */
export function isHttp(bytes: Buffer): boolean {
  return /^[A-Z]{1,10}( |$)/.test(bytes.subarray(0, 12).toString("latin1"));
}

/**
 * Starts the forwarder. Requests are read and written anew, so that no server can read anything into them that was not
 * seen here.
 * @param options.check whether a request of a flow may go to a host.
 */
export async function startHttpForwarder(options: {
  flow: (id: number) => ProxiedFlow | undefined;
  check: (flow: ProxiedFlow, name: string | undefined) => Promise<Decision>;
  logger: Logger;
}): Promise<HttpForwarder> {
  const { logger } = options;
  const flows = new WeakMap<Duplex, ProxiedFlow>();
  const allowed = async (incoming: IncomingMessage): Promise<ProxiedFlow> => {
    const flow = flows.get(incoming.socket);
    if (!flow) throw new DormouseError("internal", "a request without a connection");
    const decision = await options.check(flow, hostOf(incoming, flow.port));
    if (!decision.isAllowed) throw new DormouseError("permission_denied", decision.reason);
    return flow;
  };
  const http = createHttpServer({ requireHostHeader: true, keepAliveTimeout: 60_000, requestTimeout: 0 });
  http.on("request", async (incoming: IncomingMessage, response: ServerResponse) => {
    try {
      const flow = await allowed(incoming);
      const outgoing = request(targetOf(flow, incoming));
      // 100-continue is the server's to say.
      outgoing.on("continue", () => response.writeContinue());
      outgoing.on("response", (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedOn(answer.rawHeaders));
        answer.pipe(response);
        answer.on("error", () => response.destroy());
      });
      outgoing.on("error", () =>
        response.headersSent ? response.destroy() : sayRefused(response, 502, "the server does not answer"),
      );
      response.on("close", () => outgoing.destroy());
      incoming.pipe(outgoing);
    } catch (error) {
      const { message, code } = DormouseError.from(error);
      sayRefused(response, code === "permission_denied" ? 403 : 502, message);
    }
  });
  http.on("checkContinue", (incoming, response) => http.emit("request", incoming, response));
  http.on("upgrade", async (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    try {
      const flow = await allowed(incoming);
      const outgoing = request({ ...targetOf(flow, incoming), headers: withUpgrade(incoming) });
      outgoing.on("error", () => socket.destroy());
      outgoing.on("response", () => socket.destroy());
      outgoing.on("upgrade", (answer, upstream, first) => {
        const lines = pairs(answer.rawHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("")}\r\n`);
        socket.write(first);
        upstream.write(head);
        upstream.on("error", () => socket.destroy());
        socket.on("close", () => upstream.destroy());
        upstream.on("close", () => socket.destroy());
        upstream.pipe(socket).pipe(upstream);
      });
      outgoing.end();
    } catch (error) {
      const { message } = DormouseError.from(error);
      socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${refusal(message)}`);
    }
  });
  http.on("connect", (_incoming, socket: Duplex) => socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"));
  http.on("clientError", (_error, socket: Duplex) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  });

  const path = `dormouse-egress-${randomBytes(16).toString("hex")}`;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    readLine(socket, (line) => {
      const flow = options.flow(Number(line));
      if (!flow) return void socket.destroy();
      flows.set(socket, flow);
      http.emit("connection", socket);
    });
  });
  server.on("error", (error) => logger.warn("the policy's HTTP forwarder failed", { error }));
  server.listen(`\0${path}`);
  await once(server, "listening");
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * The one host that a request names. Undefined when it names none or more than one, as by an address of its own in the first
 * line, or another port than it goes to.
 */
function hostOf(incoming: IncomingMessage, port: number): string | undefined {
  const hosts = pairs(incoming.rawHeaders).filter(([name]) => name.toLowerCase() === "host");
  const [text] = hosts.map(([, value]) => value);
  if (hosts.length !== 1 || text === undefined || !(incoming.url ?? "").startsWith("/")) return undefined;
  const match = /^([^:]+)(?::(\d+))?$/.exec(text.trim());
  if (!match?.[1] || (match[2] !== undefined && Number(match[2]) !== port)) return undefined;
  return normalName(match[1]);
}

function targetOf({ address, port }: ProxiedFlow, incoming: IncomingMessage) {
  // Said again, or a body without a length would go on unframed, to be read as the next request.
  const framing = incoming.headers["transfer-encoding"] === undefined ? [] : ["Transfer-Encoding", "chunked"];
  return {
    host: formatIpv4(address),
    port,
    method: incoming.method ?? "GET",
    path: incoming.url ?? "/",
    headers: [...passedOn(incoming.rawHeaders), ...framing],
    setHost: false,
    agent: false as const,
    timeout: upstreamTimeoutMs,
  };
}

/** Without what is said hop by hop, and without what the first says is so; names and order as they were. */
function passedOn(rawHeaders: readonly string[]): string[] {
  const all = pairs(rawHeaders);
  const named = all
    .filter(([name]) => name.toLowerCase() === "connection")
    .flatMap(([, value]) => value.toLowerCase().split(/\s*,\s*/));
  return all.filter(([name]) => !hopHeaders.has(name.toLowerCase()) && !named.includes(name.toLowerCase())).flat();
}

function withUpgrade(incoming: IncomingMessage): string[] {
  return [...passedOn(incoming.rawHeaders), "Connection", "Upgrade", "Upgrade", incoming.headers.upgrade ?? ""];
}

function pairs(rawHeaders: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2)
    found.push([rawHeaders[index] ?? "", rawHeaders[index + 1] ?? ""]);
  return found;
}

function sayRefused(response: ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" });
  response.end(refusal(reason));
}

function refusal(reason: string): string {
  return `Dormouse did not let this request out of the workspace: ${reason}.\n`;
}

/** Reads up to the first line's end and gives back what comes after it. */
function readLine(socket: Socket, take: (line: string) => void): void {
  let held = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), lineTimeoutMs);
  socket.on("close", () => clearTimeout(timer));
  const onReadable = () => {
    const data: Buffer | null = socket.read();
    if (data === null) return;
    held = Buffer.concat([held, data]);
    const end = held.indexOf("\n");
    if (end < 0 && held.length <= maxLineBytes) return;
    socket.removeListener("readable", onReadable);
    clearTimeout(timer);
    if (end < 0 || end > maxLineBytes) return void socket.destroy();
    if (end + 1 < held.length) socket.unshift(held.subarray(end + 1));
    take(held.subarray(0, end).toString("latin1"));
  };
  socket.on("readable", onReadable);
}
