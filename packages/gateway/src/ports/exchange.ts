import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import { connect as http2Connect, type IncomingHttpHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { join } from "../proxy.ts";
import { fromServer } from "./headers.ts";

/** A request, and the connection on which it is passed on. */
export interface Exchange {
  request: IncomingMessage;
  /** To the user's server; it serves this request alone. */
  connection: Duplex;
  headers: OutgoingHttpHeaders;
  port: number;
}

/** Passes a request on in HTTP/1.1; bodies stream both ways, never more of them in memory than sockets hold. */
export async function exchangeHttp1(exchange: Exchange, response: ServerResponse): Promise<void> {
  const { request, connection } = exchange;
  const hasLength = request.headers["content-length"] !== undefined;
  const isChunked = request.headers["transfer-encoding"] !== undefined;
  const headers = { ...exchange.headers, ...(isChunked && { "transfer-encoding": "chunked" }) };
  const outgoing = openHttp1({ ...exchange, headers });
  // An interim answer of the server's own, e.g. early hints, is nobody's but the browser's; 100 was given already.
  const answered = answerOf(outgoing, exchange.port);
  // A server that answers before it has read everything has refused the rest; its answer says why.
  if (hasLength || isChunked) void pipeline(request, outgoing).catch(() => outgoing.destroy());
  else outgoing.end();
  const { answer } = await answered;
  try {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, fromServer(answer.headers));
    // Event streams say nothing for a while; their reader should know at once that it is connected.
    response.flushHeaders();
    await pipeline(answer, response);
  } catch {
    // One side went away in the middle; pipeline has ended the other, and nobody is left to tell.
  } finally {
    connection.destroy();
  }
}

/** Passes a WebSocket's upgrade on, and then the bytes of both sides. A refusal is the server's own, whole. */
export async function exchangeUpgrade(exchange: Exchange, socket: Duplex, head: Buffer): Promise<void> {
  const headers = { ...exchange.headers, connection: "Upgrade", upgrade: "websocket" };
  const outgoing = openHttp1({ ...exchange, headers });
  const answered = answerOf(outgoing, exchange.port);
  outgoing.end();
  const { answer, behind } = await answered;
  const passed: OutgoingHttpHeaders = behind
    ? { ...fromServer(answer.headers), connection: "Upgrade", upgrade: "websocket" }
    : { ...fromServer(answer.headers), connection: "close" };
  const lines = Object.entries(passed).flatMap(([name, value]) =>
    [value ?? []].flat().map((each) => `${name}: ${each}`),
  );
  socket.write(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${lines.join("\r\n")}\r\n\r\n`);
  if (!behind) {
    await pipeline(answer, socket).catch(() => {
      // As above.
    });
    return;
  }
  if (behind.head.length > 0) socket.write(behind.head);
  if (head.length > 0) behind.socket.write(head);
  await join(socket, behind.socket);
}

/** Passes a request on in HTTP/2, with a session of its own. */
export async function exchangeHttp2(
  exchange: Exchange & { scheme: "http" | "https" },
  response: ServerResponse,
): Promise<void> {
  const { request, connection, scheme, port } = exchange;
  const session = http2Connect(`${scheme}://localhost`, { createConnection: () => connection });
  const failed = new Promise<never>((_, reject) => {
    const fail = (cause?: unknown) =>
      reject(new DormouseError("unavailable", `what listens on port ${port} does not speak HTTP/2`, { cause }));
    session.once("error", fail);
    session.once("close", fail);
  });
  failed.catch(() => {});
  response.once("close", () => session.destroy());
  try {
    const { host, ...headers } = exchange.headers;
    const hasBody =
      request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined;
    const stream = session.request(
      {
        ":method": request.method,
        ":path": request.url,
        ":scheme": scheme,
        ":authority": String(host ?? `localhost:${port}`),
        ...headers,
      },
      { endStream: !hasBody },
    );
    if (hasBody) void pipeline(request, stream).catch(() => {});
    const answer = await Promise.race([
      failed,
      new Promise<IncomingHttpHeaders & { ":status"?: number }>((resolve, reject) => {
        stream.once("response", resolve);
        stream.once("error", reject);
      }),
    ]);
    const passed = Object.fromEntries(Object.entries(answer).filter(([name]) => !name.startsWith(":")));
    response.writeHead(answer[":status"] ?? 502, fromServer(passed));
    response.flushHeaders();
    await pipeline(stream, response).catch(() => {
      // As above.
    });
  } finally {
    session.destroy();
  }
}

function openHttp1({ request, connection, headers }: Exchange) {
  return httpRequest({
    createConnection: () => connection,
    method: request.method,
    path: request.url,
    headers,
    setHost: false,
  });
}

type Answer = { answer: IncomingMessage; behind?: { socket: Duplex; head: Buffer } };

function answerOf(outgoing: ReturnType<typeof httpRequest>, port: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    outgoing.once("response", (answer) => resolve({ answer }));
    outgoing.once("upgrade", (answer, socket, head) => resolve({ answer, behind: { socket, head } }));
    const fail = (cause?: Error & { code?: string }) => {
      const isOther = cause?.code?.startsWith("HPE_");
      const what = isOther
        ? `what listens on port ${port} does not answer in HTTP/1.1; if it speaks https or h2c, set the port's protocol`
        : `what listens on port ${port} closed the connection without an answer`;
      reject(new DormouseError("unavailable", what, { cause, details: { port } }));
    };
    outgoing.on("error", fail);
    outgoing.once("close", () => fail());
  });
}
