import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  type ClientRequest,
  createServer as createHttpServer,
  type IncomingMessage,
  request,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import { Agent, request as secureRequest } from "node:https";
import { createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type SecureContext, TLSSocket } from "node:tls";
import { DormouseError, type Logger } from "@dormouse/base";
import { formatIpv4 } from "../ipv4.ts";
import type { Decision } from "../policy/policy.ts";
import { normalName } from "../policy/rule.ts";
import type { ProxiedFlow } from "./proxy.ts";
import type { SecretSet } from "./secrets.ts";

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

/** Connections of one machine that are decrypted at a time: each takes some memory of the host daemon. */
const maxEncryptedOfOne = 256;
/** A server that offers HTTP/1.1 and nothing else (RFC 7301 3.1). */
const http1Alone = Buffer.from("\u0008http/1.1");

/** Passes HTTP on, request by request: each names its host, and a connection may carry many. */
export interface HttpForwarder extends AsyncDisposable {
  /** Of its socket in the abstract namespace (unix(7)), without the zero at the beginning. */
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What the forwarder asks. */
export interface HttpForwarderOptions {
  flow: (id: number) => ProxiedFlow | undefined;
  /** Whether a request of a flow may go to a host. */
  check: (flow: ProxiedFlow, name: string | undefined) => Promise<Decision>;
  /** Of the machine that a flow comes from. */
  secretsOf: (flow: ProxiedFlow) => SecretSet;
  /** Whether a name leads to where a flow goes. */
  leadsTo: (flow: ProxiedFlow, name: string) => Promise<boolean>;
  /** What machines are answered with that trust an organisation's authority. */
  contextOf: (organisation: string, host: string) => SecureContext;
  /** What servers are held against. */
  roots: SecureContext;
  logger: Logger;
}

/** A connection of a machine that is read here. */
interface Connection {
  flow: ProxiedFlow;
  /** Of one that is decrypted here: its way on, one connection at a time. */
  agent: Agent | undefined;
  /** Requests under way. */
  active: number;
}

/** Whether bytes can be the beginning of an HTTP/1 request. */
export function isHttp(bytes: Buffer): boolean {
  return /^[A-Z]{1,10}( |$)/.test(bytes.subarray(0, 12).toString("latin1"));
}

/**
 * Starts the forwarder. Requests are read and written anew, so that no server can read anything into them that was not
 * seen here. Flows that are encrypted are decrypted here, and their requests go on encrypted, to a server that proves its name.
 */
export async function startHttpForwarder(options: HttpForwarderOptions): Promise<HttpForwarder> {
  const { logger } = options;
  const connections = new WeakMap<Duplex, Connection>();
  const connectionOf = ({ socket }: IncomingMessage): Connection => {
    const connection = connections.get(socket);
    if (!connection) throw new DormouseError("internal", "a request without a connection");
    return connection;
  };
  /** The request as it goes on, once all of it that decides was looked at. */
  const onward = async (incoming: IncomingMessage, { flow, agent }: Connection, headers: readonly string[]) => {
    const name = hostOf(incoming, flow.port);
    if (flow.isEncrypted && (name === undefined || name !== flow.name)) throw new Refusal(421, misdirected(flow));
    const decision = await options.check(flow, name);
    if (!decision.isAllowed) throw new Refusal(403, decision.reason);
    const target = { ...targetOf(flow, incoming), headers: await withSecrets(flow, name, headers) };
    // Its answer is the request itself (RFC 9110 9.3.8), headers and all.
    if (isTrace(incoming) && target.headers.some((text, index) => text !== headers[index]))
      throw new Refusal(403, `a secret does not go with the method ${incoming.method}, which sends it back`);
    return agent ? secureRequest({ ...target, agent }) : request(target);
  };
  const withSecrets = async (flow: ProxiedFlow, host: string | undefined, headers: readonly string[]) => {
    const secrets = options.secretsOf(flow);
    if (host === undefined || secrets.of(host).length === 0) return [...headers];
    const replaced = secrets.replace(headers, { host, isEncrypted: flow.isEncrypted });
    // Encrypted, the server proves that it is the one.
    const goesAstray = !flow.isEncrypted && replaced.some((text, index) => text !== headers[index]);
    if (goesAstray && !(await options.leadsTo(flow, host)))
      throw new Refusal(403, `${formatIpv4(flow.address)} is no address of ${host}`);
    return replaced;
  };
  const http = createHttpServer({ requireHostHeader: true, keepAliveTimeout: 60_000, requestTimeout: 0 });
  http.on("request", async (incoming: IncomingMessage, response: ServerResponse) => {
    try {
      const connection = connectionOf(incoming);
      const outgoing = await onward(incoming, connection, ofRequest(incoming));
      connection.active++;
      response.on("close", () => {
        connection.active--;
        if (!response.writableFinished) outgoing.destroy();
      });
      followUpstream(outgoing, incoming, connection);
      // 100-continue is the server's to say.
      outgoing.on("continue", () => response.writeContinue());
      outgoing.on("response", (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedOn(answer.rawHeaders));
        answer.pipe(response);
        answer.on("error", () => response.destroy());
      });
      outgoing.on("error", (error: NodeJS.ErrnoException) => {
        if (response.headersSent) response.destroy();
        // A connection that its server closed at this moment: the client knows that from servers, and tries again.
        else if (outgoing.reusedSocket && connection.active === 1) incoming.socket.destroy();
        else sayRefused(response, new Refusal(502, problemOf(error)), connection.flow);
      });
      incoming.pipe(outgoing);
    } catch (error) {
      sayRefused(response, Refusal.from(error), connections.get(incoming.socket)?.flow);
    }
  });
  http.on("checkContinue", (incoming, response) => http.emit("request", incoming, response));
  http.on("upgrade", async (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    try {
      const connection = connectionOf(incoming);
      const outgoing = await onward(incoming, connection, withUpgrade(incoming));
      socket.on("close", () => outgoing.destroy());
      outgoing.on("error", (error: NodeJS.ErrnoException) =>
        socket.end(rawRefusal(new Refusal(502, problemOf(error)), connection.flow)),
      );
      outgoing.on("response", (answer) => {
        socket.write(rawHead(answer, ["Connection: close"]));
        answer.pipe(socket);
      });
      outgoing.on("upgrade", (answer, upstream, first) => {
        // As it was said, hop by hop: this is the hop.
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
      socket.end(rawRefusal(Refusal.from(error), connections.get(incoming.socket)?.flow));
    }
  });
  http.on("connect", (_incoming, socket: Duplex) => socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"));
  http.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    const status = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
  });

  const encrypted = new Map<string, number>();
  const take = (socket: Socket, flow: ProxiedFlow) => {
    if (!flow.isEncrypted) {
      connections.set(socket, { flow, agent: undefined, active: 0 });
      return void http.emit("connection", socket);
    }
    const { from, name: servername = "" } = flow;
    const count = encrypted.get(from) ?? 0;
    if (count >= maxEncryptedOfOne) return void socket.destroy();
    encrypted.set(from, count + 1);
    socket.on("close", () => {
      const left = (encrypted.get(from) ?? 1) - 1;
      if (left > 0) encrypted.set(from, left);
      else encrypted.delete(from);
    });
    const secureContext = options.contextOf(options.secretsOf(flow).organisation, servername);
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: http1Alone });
    const towards = { servername, secureContext: options.roots, ALPNProtocols: http1Alone };
    const agent = new Agent({ ...towards, keepAlive: true, maxSockets: 1 });
    socket.on("close", () => {
      secure.destroy();
      agent.destroy();
    });
    connections.set(secure, { flow, agent, active: 0 });
    http.emit("connection", secure);
  };
  const path = `dormouse-egress-${randomBytes(16).toString("hex")}`;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    readLine(socket, (line) => {
      const flow = options.flow(Number(line));
      if (!flow) return void socket.destroy();
      try {
        take(socket, flow);
      } catch (error) {
        logger.warn("a connection could not be decrypted", { error });
        socket.destroy();
      }
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

/** What a request is answered with in its server's place. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, reason: string) {
    super(reason);
    this.status = status;
  }

  static from(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    const { code, message } = DormouseError.from(error);
    return new Refusal(code === "permission_denied" ? 403 : 502, message);
  }
}

/** A server that ends a connection on which nothing is asked ends the machine's too. */
function followUpstream(outgoing: ClientRequest, { socket }: IncomingMessage, connection: Connection): void {
  if (!connection.agent) return;
  outgoing.once("socket", (upstream) => {
    if (outgoing.reusedSocket) return;
    upstream.once("close", () => {
      if (connection.active === 0) socket.end();
    });
  });
}

function misdirected({ name }: ProxiedFlow): string {
  return `this connection is to ${name} alone: the request must name that host, and begin with a path`;
}

/** Without what an error may repeat of a request. */
function problemOf({ code = "" }: NodeJS.ErrnoException): string {
  const isOfCertificate = /CERT|ISSUER|SIGNATURE|ALTNAME/.test(code);
  return isOfCertificate ? `the server's certificate is not to be trusted (${code})` : "the server does not answer";
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

function isTrace({ method = "" }: IncomingMessage): boolean {
  return method === "TRACE" || method === "TRACK";
}

function targetOf({ address, port }: ProxiedFlow, incoming: IncomingMessage) {
  return {
    host: formatIpv4(address),
    port,
    method: incoming.method ?? "GET",
    path: incoming.url ?? "/",
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

function ofRequest({ rawHeaders, headers }: IncomingMessage): string[] {
  // Said again, or a body without a length would go on unframed, to be read as the next request.
  const framing = headers["transfer-encoding"] === undefined ? [] : ["Transfer-Encoding", "chunked"];
  return [...passedOn(rawHeaders), ...framing];
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

/** The head of an answer that ends with its connection. */
function rawHead(answer: IncomingMessage, more: readonly string[]): string {
  const lines = [...pairs(passedOn(answer.rawHeaders)).map(([name, value]) => `${name}: ${value}`), ...more];
  return `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${lines.join("\r\n")}\r\n\r\n`;
}

function sayRefused(response: ServerResponse, refusal: Refusal, flow: ProxiedFlow | undefined): void {
  const { type, text } = bodyOf(refusal, flow);
  response.writeHead(refusal.status, { "content-type": type, connection: "close" });
  response.end(text);
}

function rawRefusal(refusal: Refusal, flow: ProxiedFlow | undefined): string {
  const { type, text } = bodyOf(refusal, flow);
  const head = `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ""}\r\nContent-Type: ${type}\r\n`;
  return `${head}Connection: close\r\n\r\n${text}`;
}

/** For programs where they spoke to an API, else for people. */
function bodyOf({ message }: Refusal, flow: ProxiedFlow | undefined): { type: string; text: string } {
  const text = `Dormouse did not let this request out of the workspace: ${message}.`;
  if (!flow?.isEncrypted) return { type: "text/plain; charset=utf-8", text: `${text}\n` };
  return { type: "application/json", text: `${JSON.stringify({ error: { message: text } })}\n` };
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
