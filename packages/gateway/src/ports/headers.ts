import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { passable } from "../headers.ts";

/** What a browser keeps for a port's origin. Without Domain it is sent to that host alone. */
export const sessionCookie = "dormouse-port";
/** What it keeps until it comes back from the platform. */
export const stateCookie = "dormouse-port-state";

/** Tokens of ours, which are for the gateway alone. */
const ownTokens = /^Bearer +dm[kl]_/i;
/** Cookies of ours, of the platform's origin and of ports'. */
const ownCookies = /^(?:__(?:Host|Secure)-)?dormouse[.-]/;

/** Who asks, as far as a request says. */
export interface PortCredentials {
  session?: string;
  authorization?: string;
}

/** Reads what is ours of a request. `X-Dormouse-Authorization` leaves `Authorization` to the user's server. */
export function credentialsOf({ headers }: IncomingMessage): PortCredentials {
  const { "x-dormouse-authorization": separate, authorization } = headers;
  const own = separate ?? (authorization && ownTokens.test(authorization) ? authorization : undefined);
  const session = cookieOf(headers.cookie, sessionCookie);
  return { ...(own !== undefined && { authorization: String(own) }), ...(session !== undefined && { session }) };
}

/** A cookie's value. */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  const found = cookiesOf(header).find((cookie) => cookie.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

/** The headers of a request to the user's server: as they came, without what is ours, and with where it came from. */
export function toServer(request: IncomingMessage, scheme: string): OutgoingHttpHeaders {
  const { cookie, authorization, ...headers } = passable(request.headers);
  for (const name of Object.keys(headers)) {
    if (name === "forwarded" || name.startsWith("x-forwarded-") || name.startsWith("x-dormouse-")) delete headers[name];
  }
  const cookies = cookiesOf(request.headers.cookie).filter((each) => !ownCookies.test(each));
  return {
    ...headers,
    ...(cookies.length > 0 && { cookie: cookies.join("; ") }),
    ...(authorization !== undefined && !ownTokens.test(String(authorization)) && { authorization }),
    "x-forwarded-for": request.socket.remoteAddress ?? "",
    "x-forwarded-host": request.headers.host ?? "",
    "x-forwarded-proto": scheme.slice(0, -1),
  };
}

/**
 * The headers of the user's server's answer. Its cookies stay its own: with a Domain they would reach the platform and other
 * people's ports, and under our names they would be taken for ours.
 */
export function fromServer(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const { "set-cookie": cookies, ...passed } = passable(headers);
  const kept = [cookies ?? []].flat().flatMap((cookie) => hostOnly(String(cookie)));
  return { ...passed, ...(kept.length > 0 && { "set-cookie": kept }) };
}

function hostOnly(cookie: string): string[] {
  const [pair = "", ...attributes] = cookie.split(";");
  if (ownCookies.test(pair.trim())) return [];
  return [[pair, ...attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute))].join(";")];
}

function cookiesOf(header: string | undefined): string[] {
  return (header ?? "")
    .split(";")
    .map((cookie) => cookie.trim())
    .filter(Boolean);
}

/** A cookie of a port's origin. An empty value removes it. */
export function setCookie(options: {
  name: string;
  value: string;
  path: string;
  maxAgeSeconds: number;
  /** Whether browsers take the address for a secure one. */
  isSecure: boolean;
}): string {
  const { name, value, path, maxAgeSeconds, isSecure } = options;
  // Partitioned: it works in a frame of the editor, and other sites' pages have nothing of it. Where browsers do not
  // take it, a frame of another site cannot show a port that is not public.
  const site = isSecure ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  return `${name}=${value}; Path=${path}; Max-Age=${maxAgeSeconds}; HttpOnly; ${site}`;
}

/** Browsers treat names under localhost as secure without TLS (W3C Secure Contexts, 3.1). */
export function isSecureOrigin({ scheme, domain }: { scheme: string; domain: string }): boolean {
  return scheme === "https:" || /(^|\.)localhost(:\d+)?$/.test(domain);
}
