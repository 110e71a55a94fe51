import type { IncomingMessage, ServerResponse } from "node:http";
import { DormouseError, httpStatusOf } from "@dormouse/base";
import { toErrorBody } from "@dormouse/contract";

/** Answers with JSON. Nothing of the API may be kept by caches or guessed to be another type. */
export function respondJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(JSON.stringify(body));
}

/** Answers with the one body of every refusal; a response that has begun is cut off instead. */
export function respondError(response: ServerResponse, caught: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = toErrorBody(caught);
  if (body.code === "unauthenticated") response.setHeader("www-authenticate", 'Bearer realm="dormouse"');
  respondJson(response, httpStatusOf(body.code), body);
}

/**
 * Reads a whole body.
 * @throws DormouseError `resource_exhausted` beyond `limitBytes`.
 */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  refuseLargeBody(request, limitBytes);
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/**
 * Cuts a body off that is larger than it may be, whoever reads it.
 * @throws DormouseError `resource_exhausted` when its length is announced.
 */
export function refuseLargeBody(request: IncomingMessage, limitBytes: number): void {
  const refusal = () =>
    new DormouseError("resource_exhausted", `a request's body has at most ${limitBytes} bytes here`);
  if (Number(request.headers["content-length"] ?? 0) > limitBytes) throw refusal();
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > limitBytes) request.destroy(refusal());
  });
  // Whoever reads the body decides when it flows.
  request.pause();
}
