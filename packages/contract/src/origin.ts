import { DormouseError } from "@dormouse/base";

/** The headers that say which page a request comes from. */
export interface OriginHeaders {
  origin?: string | undefined;
  cookie?: string | undefined;
  "sec-fetch-site"?: string | string[] | undefined;
}

/**
 * Refuses what a page of another origin sends with this origin's cookies. Browsers name
 * the page's origin with every write and every WebSocket; SameSite cookies alone would
 * let the pages of other ports of this machine in, which are the same "site".
 * @param host the host, with its port, that the browser asked for.
 * @throws DormouseError `permission_denied` naming the origin.
 */
export function checkOrigin(headers: OriginHeaders, host: string | undefined): void {
  const { origin, cookie } = headers;
  // No page can set this one; a form of a page without referrers has nothing else to show.
  if (headers["sec-fetch-site"] === "same-origin") return;
  if (origin === undefined) {
    // Without a cookie there is no authority to misuse.
    if (cookie === undefined) return;
    throw new DormouseError("permission_denied", "a request with a session's cookie must name its Origin");
  }
  if (host !== undefined && URL.parse(origin)?.host === host) return;
  throw new DormouseError("permission_denied", `pages of ${origin} may not act here`);
}
