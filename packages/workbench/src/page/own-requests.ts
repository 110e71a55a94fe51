/**
 * Sends a request of the page's own code to the platform, with the session of who looks at the page. To be imported before
 * anything of the editor is: from then on `fetch` is for the editor, and has {@link confineRequests}' limits.
 */
export const ownFetch: typeof fetch = globalThis.fetch.bind(globalThis);

/** What the editor may ask of the platform that the page is from: code and extensions without a session, the gallery with. */
type Allowed = "anonymously" | "with session" | "no";

/** How the editor may ask for an address; `origin` is that of the page. */
export function editorMayAsk(address: URL, origin: string): Allowed {
  // Other origins are the business of the page's policy, which allows none.
  if (address.origin !== origin) return "anonymously";
  const { pathname } = address;
  if (/%2f|%5c|%2e/i.test(pathname)) return "no";
  if (pathname.startsWith("/workbench/") || pathname.startsWith("/api/extensions/")) return "anonymously";
  return pathname.startsWith("/api/gallery/") ? "with session" : "no";
}

/**
 * Extensions cannot send requests with the session of who looks at the page, but the editor could be made to do so for them:
 * several of its commands fetch an address and give back what is there. Nothing but the page's own code reaches the API.
 */
export function confineRequests(): void {
  const refusal = (address: URL) => new TypeError(`the editor does not ask ${address.pathname} of the platform`);
  globalThis.fetch = async (input, init) => {
    const address = new URL(input instanceof Request ? input.url : String(input), location.href);
    const allowed = editorMayAsk(address, location.origin);
    if (allowed === "no") throw refusal(address);
    return ownFetch(input, allowed === "anonymously" ? { ...init, credentials: "omit" } : init);
  };
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (
    this: XMLHttpRequest,
    method: string,
    url: string | URL,
    ...rest: unknown[]
  ) {
    const address = new URL(String(url), location.href);
    if (address.origin === location.origin && !address.pathname.startsWith("/workbench/")) throw refusal(address);
    return Reflect.apply(open, this, [method, url, ...(rest.length > 0 ? rest : [true])]);
  };
}
