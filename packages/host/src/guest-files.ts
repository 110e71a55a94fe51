import { createWriteStream } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { Readable, Transform } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { DormouseError, formatBytes } from "@dormouse/base";
import { endUnlessConnected, type GuestAddress } from "./guest-address.ts";

/** Writes a file of a machine, whatever its size, by its agent; the file appears as a whole. */
export async function sendFile(
  guest: GuestAddress,
  path: string,
  content: Readable,
  signal: AbortSignal,
): Promise<void> {
  const answer = await ask(guest, { method: "PUT", path, content, signal });
  answer.resume();
}

/**
 * Copies a file out of a machine.
 * @throws DormouseError `resource_exhausted` beyond `maxBytes`; the caller removes what is there of `target`.
 */
export async function receiveFile(
  guest: GuestAddress,
  path: string,
  options: { target: string; maxBytes: number; onBytes(bytes: number, total: number): void; signal: AbortSignal },
): Promise<void> {
  const { target, maxBytes, onBytes, signal } = options;
  const answer = await ask(guest, { method: "GET", path, signal });
  const total = Number(answer.headers["content-length"] ?? 0);
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      onBytes(bytes, total);
      const isOver = bytes > maxBytes;
      done(
        isOver ? new DormouseError("resource_exhausted", `${path} is larger than ${formatBytes(maxBytes)}`) : null,
        chunk,
      );
    },
  });
  await pipeline(answer, count, createWriteStream(target, { mode: 0o600 }), { signal });
}

async function ask(
  { address: host, port, connections: agent, token }: GuestAddress,
  options: { method: "GET" | "PUT"; path: string; content?: Readable; signal: AbortSignal },
): Promise<IncomingMessage> {
  const { method, path, content, signal } = options;
  const headers = { authorization: `Bearer ${token}` };
  const outgoing = request({
    ...{ host, port, agent, method, headers, signal },
    path: `/file?path=${encodeURIComponent(path)}`,
  });
  outgoing.once("socket", endUnlessConnected);
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve).once("error", reject);
  });
  // An agent may refuse before it has read all of it, and what it says then is what went wrong.
  const sent = pipeline(content ?? Readable.from([]), outgoing).catch((error: unknown) => error);
  const answer = await answered.catch(async (error: unknown) => {
    throw content?.errored ?? error;
  });
  if (answer.statusCode === 200) {
    const failure = await sent;
    if (!failure) return answer;
    answer.destroy();
    throw failure;
  }
  const said = await text(answer);
  let body: unknown;
  try {
    body = JSON.parse(said);
  } catch {
    // Not the agent's; the status says all there is.
  }
  throw DormouseError.fromJSON(body) ?? new DormouseError("unavailable", `${path}: status ${answer.statusCode}`);
}
