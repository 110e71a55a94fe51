import type { IncomingMessage, ServerResponse } from "node:http";
import { extname } from "node:path";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { limits } from "@dormouse/contract";
import { type Actor, requirePerson } from "../accounts/actor.ts";
import { readBody, refuseLargeBody, respondJson } from "../api/respond.ts";
import { answerBytes, type Gallery } from "./gallery.ts";
import type { ExtensionService } from "./service.ts";

/** The requests about extensions that are no calls of the contract: their bodies are files. */
export interface ExtensionRoutes {
  /** Answers what anybody may ask for. @returns whether it was that. */
  serveOpen(request: IncomingMessage, response: ServerResponse, pathname: string): Promise<boolean>;
  /** Answers what somebody who is known may ask for. @returns whether it was that. */
  serve(request: IncomingMessage, response: ServerResponse, url: URL, actor: () => Promise<Actor>): Promise<boolean>;
}

const queryBytes = 256 * 1024;

const types: Readonly<Record<string, string>> = {
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".cjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".md": "text/markdown; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".gif": "image/gif",
  ".webp": "image/webp",
  ".woff": "font/woff",
  ".woff2": "font/woff2",
  ".ttf": "font/ttf",
  ".otf": "font/otf",
  ".wasm": "application/wasm",
};
/** Of a gallery's files these keep their type; the rest is text. */
const assetTypes = /^(image\/(png|jpeg|gif|webp|svg\+xml)|application\/json|text\/(plain|markdown))\b/;

/** The {@link ExtensionRoutes}; without a gallery there is nothing to be found. */
export function extensionRoutes(extensions: ExtensionService, gallery: Gallery | undefined): ExtensionRoutes {
  const wantGallery = () => {
    if (gallery) return gallery;
    throw new DormouseError("failed_precondition", noGallery);
  };
  return {
    async serveOpen(request, response, pathname) {
      const [, id, path] = /^\/api\/extensions\/([^/]+)\/(.+)$/.exec(pathname) ?? [];
      if (id === undefined || path === undefined) return false;
      // Extensions run in a frame of no origin, which has no cookies: the id is what lets in.
      const found = isRead(request) ? await extensions.file(id, decode(path)) : undefined;
      if (!found) throw new DormouseError("not_found", `there is no file ${path.slice(0, 200)} of this extension`);
      response.writeHead(200, {
        "content-type": types[extname(path).toLowerCase()] ?? "application/octet-stream",
        "content-length": found.bytes,
        // What an id names never changes.
        "cache-control": "private, max-age=31536000, immutable",
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
      });
      if (request.method === "HEAD") {
        found.content.destroy();
        response.end();
      } else {
        await pipeline(found.content, response).catch(() => {
          // The client went away, or the file is not what its package says: the connection is cut either way.
        });
      }
      return true;
    },
    async serve(request, response, { pathname, search }, actor) {
      const signal = signalOf(response);
      if (pathname === "/api/me/extensions" && request.method === "POST") {
        const { userId } = requirePerson(await actor());
        refuseLargeBody(request, limits.extensionBytes);
        respondJson(response, 200, await extensions.install(userId, { source: "file", content: request }));
        return true;
      }
      if (pathname === "/api/gallery/extensionquery" && request.method === "POST") {
        await actor();
        const query = parse(await readBody(request, queryBytes));
        const assetsUrl = `${originOf(request)}/api/gallery/assets`;
        respondJson(response, 200, await wantGallery().query(query, assetsUrl, signal));
        return true;
      }
      const [, asset] = /^\/api\/gallery\/assets\/(.+)$/.exec(pathname) ?? [];
      if (asset === undefined || !isRead(request)) return false;
      await actor();
      const { headers, body } = await wantGallery().asset(asset + search, signal);
      const type = String(headers["content-type"] ?? "");
      response.writeHead(200, {
        "content-type": assetTypes.test(type) ? type : "text/plain; charset=utf-8",
        "cache-control": "private, max-age=3600",
        "x-content-type-options": "nosniff",
      });
      await pipeline(body, limited, response).catch(() => {
        // One side went away in the middle, or it was too much: the connection is cut.
      });
      return true;
    },
  };
}

/** Why nothing can be found or installed by name. */
export const noGallery =
  "no gallery of extensions is set on this server: whoever runs it sets one with `--extensions-gallery URL`";

function isRead({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new DormouseError("invalid_argument", "this path is not properly coded", { cause });
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (cause) {
    throw new DormouseError("invalid_argument", "the query is no JSON", { cause });
  }
}

/** Where the page is from, as the gateway says. */
function originOf({ headers }: IncomingMessage): string {
  const protocol = headers["x-forwarded-proto"] ?? "http";
  return `${String(protocol)}://${String(headers["x-forwarded-host"] ?? headers.host ?? "")}`;
}

function signalOf(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  return gone.signal;
}

async function* limited(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.byteLength;
    if (bytes > answerBytes) throw new DormouseError("resource_exhausted", "the gallery's file is too large");
    yield chunk;
  }
}
