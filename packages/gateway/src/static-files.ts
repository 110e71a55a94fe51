import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".webmanifest": "application/manifest+json; charset=utf-8",
  ".map": "application/json; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".gif": "image/gif",
  ".ico": "image/x-icon",
  ".woff": "font/woff",
  ".woff2": "font/woff2",
  ".ttf": "font/ttf",
  ".wasm": "application/wasm",
  ".mp3": "audio/mpeg",
  ".md": "text/markdown; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
};

/** Vite puts a hash of the content into these names, so what they name never changes. */
const hashed = /^assets\/.*-[A-Za-z0-9_-]{8,}\.[A-Za-z0-9]+$/;

/**
 * Answers with a file of a built page, the compressed neighbour (`.br`, `.gz`) when
 * there is one that the client takes.
 * @throws DormouseError `not_found` when there is no such file in the folder.
 */
export async function serveFile(options: {
  request: IncomingMessage;
  response: ServerResponse;
  folder: string;
  /** Below the folder, decoded. */
  path: string;
  headers: OutgoingHttpHeaders;
}): Promise<void> {
  const { request, response, folder, path, headers } = options;
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new DormouseError("unimplemented", `${request.method} is not possible here, only GET and HEAD`);
  }
  const file = normalize(join(folder, path));
  if (!file.startsWith(folder + sep) || path.includes("\0")) throw missing(path);
  const found = await choose(file, String(request.headers["accept-encoding"] ?? ""));
  if (!found) throw missing(path);
  const etag = `"${found.size.toString(36)}-${Math.trunc(found.modifiedMs).toString(36)}${found.encoding ?? ""}"`;
  const answer: OutgoingHttpHeaders = {
    ...headers,
    "content-type": types[extname(file).toLowerCase()] ?? "application/octet-stream",
    "cache-control": hashed.test(path) ? "public, max-age=31536000, immutable" : "no-cache",
    etag,
    vary: "accept-encoding",
    ...(found.encoding && { "content-encoding": found.encoding }),
  };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, answer).end();
    return;
  }
  response.writeHead(200, { ...answer, "content-length": found.size });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  await pipeline(createReadStream(found.file), response).catch(() => {
    // The client went away, or the file was replaced while it was read: the connection is cut either way.
  });
}

type Found = { file: string; size: number; modifiedMs: number; encoding?: string };

async function choose(file: string, accepted: string): Promise<Found | undefined> {
  for (const [encoding, end] of [
    ["br", ".br"],
    ["gzip", ".gz"],
  ] as const) {
    if (!new RegExp(`\\b${encoding}\\b(?!\\s*;\\s*q=0(?:\\.0*)?(?:,|$))`).test(accepted)) continue;
    const found = await existing(file + end);
    if (found) return { ...found, encoding };
  }
  return existing(file);
}

async function existing(file: string): Promise<Found | undefined> {
  try {
    const stats = await stat(file);
    return stats.isFile() ? { file, size: stats.size, modifiedMs: stats.mtimeMs } : undefined;
  } catch {
    // Whatever keeps it from being read, for the client it is not there.
    return undefined;
  }
}

function missing(path: string): DormouseError {
  return new DormouseError("not_found", `there is no file ${path.slice(0, 200)}`);
}
