import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { httpStatusOf } from "@dormouse/base";
import { toErrorBody } from "@dormouse/contract";

/** Answers with the one body of every refusal; a response that has begun is cut off instead. */
export function respondError(response: ServerResponse, caught: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = toErrorBody(caught);
  response.writeHead(httpStatusOf(body.code), { ...errorHeaders, ...(body.code === "unavailable" && retrySoon) });
  response.end(JSON.stringify(body));
}

/** The same on a socket that asked for an upgrade, which is closed afterwards. */
export function refuseUpgrade(socket: Duplex, caught: unknown): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = toErrorBody(caught);
  const text = JSON.stringify(body);
  const lines = [
    `HTTP/1.1 ${httpStatusOf(body.code)} ${body.code}`,
    ...Object.entries(errorHeaders).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(text)}`,
    "connection: close",
  ];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${text}`, () => socket.destroy());
}

const retrySoon = { "retry-after": "1" };
const errorHeaders = {
  "content-type": "application/json; charset=utf-8",
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  "x-content-type-options": "nosniff",
};
