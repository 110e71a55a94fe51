import { DormouseError } from "@dormouse/base";
import { enterPath } from "./ports/serve.ts";

/** Where a request goes. */
export type Route =
  | { to: "guest"; workspace: string; path: string }
  | { to: "control"; path: string }
  | { to: "page"; page: "workbench" | "console"; needsSignIn: boolean }
  | { to: "port-entry" }
  | { to: "asset"; of: "workbench" | "console"; path: string };

/**
 * Reads a request's target. Dot segments are resolved before anything is matched, so
 * that no path leaves the folder it seems to lie in, here or at the server behind.
 * @throws DormouseError `not_found` for what leads nowhere, `invalid_argument` for a
 *   target that is no path.
 */
export function route(target: string): Route {
  const url = URL.parse(target, "http://gateway");
  if (!url || !target.startsWith("/")) throw new DormouseError("invalid_argument", "this is no path of a server");
  const { pathname, search } = url;
  if (pathname === "/api" || pathname.startsWith("/api/")) {
    const guest = /^\/api\/workspaces\/([^/]+)\/guest(\/.*)$/.exec(pathname);
    const [, workspace, path] = guest ?? [];
    if (workspace === undefined || path === undefined) return { to: "control", path: pathname + search };
    // A server behind may decode once more than this one.
    if (/%2f|%5c|%00|\\/i.test(path)) throw new DormouseError("invalid_argument", "this path holds coded slashes");
    return { to: "guest", workspace: decode(workspace), path: path + search };
  }
  if (/^\/w\/[^/]+\/?$/.test(pathname)) return { to: "page", page: "workbench", needsSignIn: true };
  if (pathname === "/") return { to: "page", page: "console", needsSignIn: true };
  if (pathname === enterPath) return { to: "port-entry" };
  if (pathname === "/signin" || pathname === "/join") return { to: "page", page: "console", needsSignIn: false };
  const asset = /^\/(workbench|console)\/(.+)$/.exec(pathname);
  if (asset) return { to: "asset", of: asset[1] === "console" ? "console" : "workbench", path: decode(asset[2] ?? "") };
  if (pathname === "/favicon.ico") return { to: "asset", of: "console", path: "favicon.svg" };
  throw new DormouseError("not_found", `there is nothing at ${pathname}`);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    throw new DormouseError("invalid_argument", "this path is not properly coded", { cause: error });
  }
}
