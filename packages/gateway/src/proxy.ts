import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { machineAwayHeader } from "@dormouse/contract";

/** Where a request is passed on to. */
export interface Upstream {
  /** Base URL without a path. */
  url: string;
  /** Path and query. */
  path: string;
  headers: OutgoingHttpHeaders;
  /** What it is called when it is away. */
  name: string;
}

const connectTimeoutMs = 10_000;
const keepAliveMs = 5_000;

/** Passes requests and WebSockets on, as they stream, never holding more than a socket's buffer of them. */
export interface Proxy {
  /**
   * Answers with what upstream answers. With `mayBeAway` the body is sent only once upstream is ready to take it; when it
   * says instead that the machine is away (asleep, for example), nothing was read or answered, and the request can be
   * made again.
   * @returns `away` in that case only.
   * @throws DormouseError `unavailable` when upstream cannot be reached and nothing was answered yet.
   */
  forward(options: {
    request: IncomingMessage;
    response: ServerResponse;
    upstream: Upstream;
    mayBeAway?: boolean;
    /** The headers of the answer, made from those of upstream. */
    answerHeaders: (answer: IncomingMessage) => OutgoingHttpHeaders;
  }): Promise<"answered" | "away">;
  /**
   * Passes an upgrade on and joins both sockets; when one ends, so does the other.
   * @throws DormouseError `unavailable` as above, or with upstream's own refusal; `details.away` as above.
   */
  upgrade(options: { request: IncomingMessage; socket: Duplex; head: Buffer; upstream: Upstream }): Promise<void>;
}

/**
 * Makes a {@link Proxy}. Every request gets a connection of its own: to servers on the
 * same machine or network that costs next to nothing, and no request is lost on a kept
 * connection that the server closed at the same moment.
 */
export function createProxy(): Proxy {
  /** Sends the head of a request and waits for the head of the answer. */
  function open(
    request: IncomingMessage,
    upstream: Upstream,
    how: { sendBody: boolean; waitsForContinue?: boolean; onClose: (cut: () => void) => void },
  ) {
    const target = new URL(upstream.url);
    const outgoing = httpRequest({
      host: target.hostname,
      port: target.port,
      method: request.method,
      path: upstream.path,
      headers:
        how.sendBody && how.waitsForContinue ? { ...upstream.headers, expect: "100-continue" } : upstream.headers,
      agent: false,
      setHost: upstream.headers.host === undefined,
    });
    // Reaching the server has a limit; how long it thinks is its own business.
    const timer = setTimeout(() => outgoing.destroy(new Error("connecting took too long")), connectTimeoutMs);
    outgoing.once("socket", (socket) => {
      keepAlive(socket);
      const reached = () => clearTimeout(timer);
      if (socket.connecting) socket.once("connect", reached);
      else reached();
    });
    how.onClose(() => outgoing.destroy());
    const answered = new Promise<{ answer: IncomingMessage; socket?: Duplex; head?: Buffer }>((resolve, reject) => {
      outgoing.once("response", (answer) => resolve({ answer }));
      outgoing.once("upgrade", (answer, socket, head) => resolve({ answer, socket, head }));
      const fail = (cause?: Error) =>
        reject(new DormouseError("unavailable", `${upstream.name} cannot be reached now`, { cause }));
      outgoing.on("error", fail);
      outgoing.once("close", () => {
        clearTimeout(timer);
        fail();
      });
    });
    // An upstream that answers before it has read everything has refused the rest; its answer says why.
    const send = () => void pipeline(request, outgoing).catch(() => outgoing.destroy());
    if (!how.sendBody) outgoing.end();
    else if (!how.waitsForContinue) send();
    else {
      outgoing.once("continue", send);
      outgoing.flushHeaders();
    }
    return answered;
  }

  return {
    async forward({ request, response, upstream, mayBeAway = false, answerHeaders }) {
      const sendBody =
        request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined;
      const { answer } = await open(request, upstream, {
        sendBody,
        waitsForContinue: mayBeAway,
        onClose: (cut) => response.once("close", () => !response.writableFinished && cut()),
      });
      if (mayBeAway && isAway(answer)) {
        answer.destroy();
        return "away";
      }
      response.writeHead(answer.statusCode ?? 502, answerHeaders(answer));
      // Event streams say nothing for a while; their reader should know at once that it is connected.
      response.flushHeaders();
      await pipeline(answer, response).catch(() => {
        // One side went away in the middle; pipeline has ended the other, and nobody is left to tell.
      });
      return "answered";
    },
    async upgrade({ request, socket, head, upstream }) {
      const { answer, ...behind } = await open(request, upstream, {
        sendBody: false,
        onClose: (cut) => socket.once("close", cut),
      });
      if (!behind.socket) throw await refusalOf(answer, upstream);
      const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
      for (let n = 0; n < answer.rawHeaders.length; n += 2)
        lines.push(`${answer.rawHeaders[n]}: ${answer.rawHeaders[n + 1]}`);
      socket.write(`${lines.join("\r\n")}\r\n\r\n`);
      if (behind.head?.length) socket.write(behind.head);
      if (head.length > 0) behind.socket.write(head);
      await join(socket, behind.socket);
    },
  };
}

/** Passes bytes in both directions until both have ended, or one side is cut; both are closed then. */
export async function join(client: Duplex, server: Duplex): Promise<void> {
  const cut = () => {
    for (const socket of [client, server]) {
      // An end would be taken for one of the direction alone.
      if (socket instanceof Socket && !socket.destroyed) socket.resetAndDestroy();
      else socket.destroy();
    }
  };
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    keepAlive(socket);
    socket.once("close", () => {
      if (!other.writableEnded) cut();
    });
    socket.on("error", cut);
  }
  client.pipe(server);
  server.pipe(client);
  await Promise.all([client, server].map((socket) => new Promise<void>((resolve) => socket.once("close", resolve))));
}

/** Whether a request announces a body (RFC 9112, 6). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** Finds out about a peer that vanished without a word, which whoever only waits for it would not. */
function keepAlive(socket: Duplex): void {
  if ("setKeepAlive" in socket && typeof socket.setKeepAlive === "function") socket.setKeepAlive(true, keepAliveMs);
  if ("setNoDelay" in socket && typeof socket.setNoDelay === "function") socket.setNoDelay(true);
}

/** Whether a host says that a machine is not there now, which control may know more about. */
function isAway(answer: IncomingMessage): boolean {
  return answer.statusCode === 503 && answer.headers[machineAwayHeader] !== undefined;
}

const refusalBytes = 64 * 1024;

/** What a server said instead of switching protocols; `details.away` when it is a host without the machine. */
export async function refusalOf(answer: IncomingMessage, upstream: Pick<Upstream, "name">): Promise<DormouseError> {
  let text = "";
  for await (const chunk of answer) if (text.length < refusalBytes) text += String(chunk);
  try {
    const error = DormouseError.fromJSON(JSON.parse(text));
    if (error) return error;
  } catch {
    // Not one of our refusals; the status says enough.
  }
  if (isAway(answer)) {
    return new DormouseError("unavailable", `${upstream.name} is away`, { details: { away: true } });
  }
  const status = answer.statusCode ?? 0;
  const code = status === 404 ? "not_found" : status === 401 || status === 403 ? "permission_denied" : "unavailable";
  return new DormouseError(code, `${upstream.name} refused the connection with status ${status}`);
}
