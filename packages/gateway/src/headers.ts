import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";

/** RFC 9110, 7.6.1: these belong to one connection and are never passed on. */
const hopByHop = new Set([
  "connection",
  // Node has answered it already.
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers without those that belong to one connection. */
export function passable(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = String(headers.connection ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase());
  const entries = Object.entries(headers).filter(([name]) => !hopByHop.has(name) && !named.includes(name));
  return Object.fromEntries(entries);
}

/** The headers of a request to control: as they came, with what the gateway knows and nobody else may say. */
export function toControl(request: IncomingMessage, publicUrl: string): OutgoingHttpHeaders {
  const headers = passable(request.headers);
  for (const name of Object.keys(headers)) {
    if (name === "forwarded" || name.startsWith("x-forwarded-") || name.startsWith("x-dormouse-")) delete headers[name];
  }
  return {
    ...headers,
    "x-forwarded-for": request.socket.remoteAddress ?? "",
    "x-forwarded-host": request.headers.host ?? "",
    "x-forwarded-proto": new URL(publicUrl).protocol.slice(0, -1),
  };
}

/** The headers of a request to a machine: what is the user's there is not allowed to see who they are here. */
export function toGuest(request: IncomingMessage, hostToken: string): OutgoingHttpHeaders {
  const { cookie: _, authorization: __, host: ___, origin: ____, ...headers } = passable(request.headers);
  for (const name of Object.keys(headers)) {
    if (name === "forwarded" || name.startsWith("x-forwarded-") || name.startsWith("x-dormouse-")) delete headers[name];
  }
  return { ...headers, authorization: `Bearer ${hostToken}` };
}

/**
 * The headers of an answer that comes from behind. What is not a page of ours never
 * becomes one: a file of a repository that is opened in a browser runs nothing and
 * reads nothing here.
 */
export function toClient(headers: IncomingHttpHeaders, from: "control" | "guest"): OutgoingHttpHeaders {
  const passed = passable(headers);
  if (from === "guest") delete passed["set-cookie"];
  const said = from === "control" ? passed : {};
  return {
    ...passed,
    "content-security-policy": said["content-security-policy"] ?? "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": said["cross-origin-resource-policy"] ?? "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
}

/**
 * The headers of our own pages: what they may load, and that nobody frames them. `host`
 * names the WebSocket's address, which not every browser takes for `'self'`.
 */
export function pageHeaders(host: string | undefined): OutgoingHttpHeaders {
  const name = sourceOf(host);
  const sockets = name === undefined ? "" : ` ws://${name} wss://${name}`;
  // Files of extensions and machines have this origin too, and are no code of ours.
  const code = name === undefined ? "'self'" : `${name}/workbench/ ${name}/console/`;
  const policy = [
    "default-src 'none'",
    // Rules of what to prepare are written by the console as it learns what there is; they run nothing.
    `script-src ${code} 'wasm-unsafe-eval' 'inline-speculation-rules'`,
    `worker-src ${code} blob:`,
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    `connect-src 'self' data: blob:${sockets}`,
    "frame-src 'self' blob:",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
  return {
    "content-security-policy": policy,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
}

/**
 * The headers of files that our pages consist of. The frame in which extensions run gets no origin: no cookies of ours, no
 * storage, and requests for nothing but our own code and files of extensions. Programs of an extension inherit that.
 */
export function assetHeaders(path: string, host: string | undefined): OutgoingHttpHeaders {
  const headers = pageHeaders(host);
  // What has no origin must be allowed to read what is the same for everybody, and to run it in its workers.
  const open = { "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" };
  if (!path.endsWith(".html")) return { ...headers, ...open };
  const name = sourceOf(host);
  // Without an origin there is no scheme that a name alone could mean.
  const at = (path: string) => (name === undefined ? "" : ` http://${name}${path} https://${name}${path}`);
  if (!/(^|\/)webWorkerExtensionHostIframe[^/]*$/.test(path)) {
    // Pages that the workbench frames carry a policy of their own; who may frame them is said here, and that files of
    // extensions are no code in them: they have this origin.
    const code = `'unsafe-inline' 'unsafe-eval' blob: data:${at("/workbench/")} https://*.vscode-resource.vscode-cdn.net`;
    return { ...headers, "content-security-policy": `frame-ancestors 'self'; script-src ${code}` };
  }
  const policy = [
    "sandbox allow-scripts",
    "default-src 'none'",
    `script-src 'unsafe-inline' 'unsafe-eval' blob:${at("/workbench/")}`,
    "worker-src blob:",
    `connect-src data: blob:${at("/workbench/")}${at("/api/extensions/")}`,
    "frame-ancestors 'self'",
  ];
  return { ...headers, ...open, "content-security-policy": policy.join("; ") };
}

/** A host as a policy names it; undefined for what is none. */
function sourceOf(host: string | undefined): string | undefined {
  return host !== undefined && /^[A-Za-z0-9.:[\]-]+$/.test(host) ? host : undefined;
}
