import { type FileHandle, open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { guestPath } from "@dormouse/contract/guest-schemas";
import { bytesToPath } from "../byte-path.ts";
import type { FileService, WriteOptions } from "./files.ts";

/** Bytes in flight per stream, in both directions. */
const bufferBytes = 256 * 1024;

/**
 * `GET`, `HEAD` and `PUT /file?path=…`: whole files of any size as raw bodies, in bounded memory. The path's
 * bytes are percent-encoded, so that names that are no UTF-8 can be given.
 * GET takes one Range. PUT takes `mode` (octal), `parents`, `overwrite`, `create` (`true`/`false`),
 * replaces the file as a whole once all of it has come, and answers its entry.
 */
export async function serveFile(files: FileService, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const query = new URL(request.url ?? "/", "http://agent").searchParams;
  const path = guestPath.safeParse(pathOf(request.url ?? ""));
  if (!path.success) throw new DormouseError("invalid_argument", `path: ${path.error.issues[0]?.message}`);
  if (request.method === "PUT") return receive(files, path.data, query, request, response);
  if (request.method === "GET" || request.method === "HEAD") return send(files, path.data, request, response);
  throw new DormouseError("unimplemented", `/file takes GET, HEAD and PUT, not ${request.method}`);
}

async function send(files: FileService, path: string, request: IncomingMessage, response: ServerResponse) {
  const { handle, entry } = await files.openFile(path);
  await using _ = handle;
  const range = rangeOf(request.headers.range, entry.size);
  if (range === "unsatisfiable") {
    response.writeHead(416, { "content-range": `bytes */${entry.size}` }).end();
    return;
  }
  response.statusCode = range ? 206 : 200;
  response.setHeader("content-type", "application/octet-stream");
  response.setHeader("accept-ranges", "bytes");
  response.setHeader("etag", `"${entry.etag}"`);
  response.setHeader("last-modified", new Date(entry.modifiedMs).toUTCString());
  if (range) response.setHeader("content-range", `bytes ${range.start}-${range.end}/${entry.size}`);
  // The kernel's own files say 0 and hold something all the same: their end is where reading ends.
  const isSized = entry.size > 0;
  if (isSized) response.setHeader("content-length", range ? range.end - range.start + 1 : entry.size);
  if (request.method === "HEAD") return void response.end();
  // A file that grows meanwhile must not overrun the length that was promised.
  const end = isSized ? (range?.end ?? entry.size - 1) : undefined;
  const start = range?.start ?? 0;
  const stream = handle.createReadStream({
    start,
    ...(end === undefined ? {} : { end }),
    highWaterMark: bufferBytes,
    autoClose: false,
  });
  await pipeline(stream, response);
}

async function receive(
  files: FileService,
  path: string,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
) {
  const entry = await files.replace(path, writeOptionsOf(query), (file) => writeBody(request, file));
  response.writeHead(200, { "content-type": "application/json", etag: `"${entry.etag}"` });
  response.end(JSON.stringify(entry));
}

/** Not by `pipeline`: a file that fails must not take the request with it, whose client waits for the reason. */
async function writeBody(request: IncomingMessage, file: string | Buffer): Promise<void> {
  await using handle = await open(file, "wx", 0o600);
  let pieces: Buffer[] = [];
  let size = 0;
  const flush = async () => {
    if (size === 0) return;
    await writeAll(handle, pieces);
    pieces = [];
    size = 0;
  };
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    pieces.push(piece);
    size += piece.length;
    if (size >= bufferBytes) await flush();
  }
  await flush();
  if (!request.complete) throw new DormouseError("cancelled", "the upload broke off");
}

async function writeAll(handle: FileHandle, pieces: readonly Buffer[]): Promise<void> {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const { bytesWritten } = await handle.writev(pieces);
  if (bytesWritten === size) return;
  // A disk that is nearly full takes a part; the next write says why.
  for (let left = Buffer.concat(pieces).subarray(bytesWritten); left.length > 0; ) {
    left = left.subarray((await handle.write(left)).bytesWritten);
  }
}

/** The path as it was written: percent signs stand for bytes, which need not be UTF-8. */
function pathOf(url: string): string {
  const written = /[?&]path=([^&#]*)/.exec(url)?.[1] ?? "";
  const latin = written
    .replaceAll("+", " ")
    .replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  // HTTP's request line holds nothing above Latin-1, so each character is one byte.
  return bytesToPath(Buffer.from(latin, "latin1"));
}

function writeOptionsOf(query: URLSearchParams): WriteOptions {
  const flag = (name: string, fallback: boolean) => {
    const value = query.get(name);
    if (value === null) return fallback;
    if (value !== "true" && value !== "false") {
      throw new DormouseError("invalid_argument", `${name}: ${value} is neither true nor false`);
    }
    return value === "true";
  };
  const mode = query.get("mode");
  if (mode !== null && !/^[0-7]{3,4}$/.test(mode)) {
    throw new DormouseError("invalid_argument", `mode: ${mode} is no octal mode such as 644`);
  }
  return {
    overwrite: flag("overwrite", true),
    create: flag("create", true),
    parents: flag("parents", true),
    ...(mode === null ? {} : { mode: Number.parseInt(mode, 8) }),
  };
}

/** One range, as RFC 9110 section 14 has it; anything else counts as none and gets the whole file. */
function rangeOf(
  header: string | undefined,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (!match[1] && !match[2])) return undefined;
  const last = size - 1;
  if (!match[1]) {
    const length = Math.min(Number(match[2]), size);
    return length === 0 ? "unsatisfiable" : { start: size - length, end: last };
  }
  const start = Number(match[1]);
  const end = match[2] ? Math.min(Number(match[2]), last) : last;
  return start > last || end < start ? "unsatisfiable" : { start, end };
}
