import { createHash } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { httpStatusOf } from "@dormouse/base";
import { toErrorBody } from "@dormouse/contract";

/** Whether a browser shows the answer to a person: then it is a page, and may lead elsewhere. */
export function isNavigation({ method, headers }: IncomingMessage): boolean {
  if (method !== "GET" && method !== "HEAD") return false;
  const mode = headers["sec-fetch-mode"];
  return mode === undefined ? (headers.accept ?? "").includes("text/html") : mode === "navigate";
}

const style =
  "body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:36rem;padding:0 1.5rem;color:#222;background:#fff}" +
  "h1{font-size:1.25rem}p{color:#555}@media(prefers-color-scheme:dark){body{color:#ddd;background:#1e1e1e}p{color:#aaa}}";

/** Takes the token out of the fragment, which browsers send to nobody, and what it is worth into a cookie. */
const linkScript = `
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
fetch("/.dormouse/link", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) })
  .then(async (answer) => {
    if (answer.ok) return location.replace("/");
    document.querySelector("p").textContent = (await answer.json()).message;
  })
  .catch(() => { document.querySelector("p").textContent = "The platform cannot be reached now."; });`;

/** What went wrong, as a page. What nothing listens for yet is looked for again. */
export function respondErrorPage(response: ServerResponse, caught: unknown): void {
  const { code, message } = toErrorBody(caught);
  const refresh = code === "unavailable" ? { refresh: "2" } : {};
  const title = code === "unavailable" ? "Nothing to see yet" : "This does not open";
  respondPage(response, { status: httpStatusOf(code), title, text: message, headers: refresh });
}

/** The page behind a link to a port. */
export function respondLinkPage(response: ServerResponse): void {
  respondPage(response, { status: 200, title: "Opening …", text: "One moment.", headers: {}, script: linkScript });
}

function respondPage(
  response: ServerResponse,
  page: { status: number; title: string; text: string; headers: OutgoingHttpHeaders; script?: string },
): void {
  const { status, title, text, headers, script } = page;
  const hash = (source: string) => `'sha256-${createHash("sha256").update(source).digest("base64")}'`;
  const policy = [
    "default-src 'none'",
    `style-src ${hash(style)}`,
    ...(script ? [`script-src ${hash(script)}`, "connect-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ];
  response.writeHead(status, {
    ...headers,
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": policy.join("; "),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  });
  response.end(
    `<!doctype html><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title><style>${style}</style>` +
      `<h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p>${script ? `<script>${script}</script>` : ""}`,
  );
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
