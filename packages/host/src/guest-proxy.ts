import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DormouseError, httpStatusOf, type Logger } from "@dormouse/base";
import { endUnlessConnected, type GuestAddress } from "./guest-address.ts";

// What belongs to one hop only (RFC 9110, section 7.6.1), and credentials that are the platform's own.
const droppedHeaders = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "authorization",
  "cookie",
  "host",
]);

/** Passes one HTTP request on to an agent, streaming both bodies; `path` is what the agent sees. */
export async function proxyRequest(
  incoming: IncomingMessage,
  response: ServerResponse,
  guest: GuestAddress,
  path: string,
): Promise<void> {
  const headers = { ...passedHeaders(incoming), ...agentHeaders(guest) };
  // Else Node would send the body of a GET or DELETE bare, and the agent would read it as the next request.
  if (incoming.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
  const { address: host, port, connections: agent } = guest;
  const upstream = request({ host, port, path, method: incoming.method, headers, agent });
  upstream.once("socket", endUnlessConnected);
  response.on("close", () => upstream.destroy());
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    upstream.on("response", resolve);
    upstream.on("error", reject);
  });
  // An agent may answer, and refuse, before it has read the whole body.
  const sent = pipeline(incoming, upstream).catch(() => {});
  try {
    const answer = await answered;
    response.writeHead(answer.statusCode ?? 502, passedHeaders(answer));
    await pipeline(answer, response);
  } catch (error) {
    if (response.headersSent) response.destroy();
    else sendError(response, new DormouseError("unavailable", "the machine's agent does not answer", { cause: error }));
  }
  await sent;
}

/**
 * Passes an upgrade on to an agent, to a WebSocket or to the bytes of a port, and then the bytes of both sides. Either may
 * end its direction alone.
 */
export function proxyUpgrade(options: {
  incoming: IncomingMessage;
  socket: Duplex;
  head: Buffer;
  guest: GuestAddress;
  path: string;
  log: Logger;
}): void {
  const { incoming, socket, head, guest, path, log } = options;
  const upstream: Socket = connect({ host: guest.address, port: guest.port, allowHalfOpen: true });
  guest.channels.add(upstream);
  upstream.once("close", () => guest.channels.delete(upstream));
  upstream.setNoDelay(true);
  // A peer that vanished without a word is noticed by the kernel's probes.
  for (const side of [upstream, socket]) if (side instanceof Socket) side.setKeepAlive(true, 15_000);
  endUnlessConnected(upstream);
  const end = (error?: Error) => {
    if (error) log.debug("guest channel ended", { error });
    // Cut and not ended: the other side could not tell a lost peer from one that has only nothing more to say.
    upstream.resetAndDestroy();
    if (socket instanceof Socket) socket.resetAndDestroy();
    else socket.destroy();
  };
  upstream.once("connect", () => {
    const upgrade = incoming.headers.upgrade === "tcp" ? "tcp" : "websocket";
    const headers = { ...passedHeaders(incoming), ...agentHeaders(guest), connection: "Upgrade", upgrade };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    upstream.write(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
    if (head.length > 0) upstream.write(head);
    upstream.pipe(socket);
    socket.pipe(upstream);
  });
  upstream.on("error", end);
  // What was read last is still being written; an end is passed on by `pipe`.
  upstream.on("close", (isCut) => {
    if (isCut || !socket.writableEnded) end();
  });
  socket.on("error", end);
  socket.on("close", () => upstream.destroy());
}

/** Answers an error in the one shape that all of the platform's HTTP interfaces share. */
export function sendError(response: ServerResponse, error: DormouseError): void {
  const body = JSON.stringify(error);
  response.writeHead(httpStatusOf(error.code), { "content-type": "application/json" });
  response.end(body);
}

/** Marks what is passed on as a user's, who may not make the calls that are the host's alone. */
function agentHeaders(guest: GuestAddress): Record<string, string> {
  const host = `${guest.address}:${guest.port}`;
  return { host, authorization: `Bearer ${guest.token}`, "x-dormouse-caller": "user" };
}

function passedHeaders(message: IncomingMessage): Record<string, string | string[]> {
  const passed: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined && !droppedHeaders.has(name)) passed[name] = value;
  }
  return passed;
}
