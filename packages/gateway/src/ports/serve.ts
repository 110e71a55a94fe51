import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { DormouseError } from "@dormouse/base";
import { checkOrigin, fromRpcError, type InternalContract } from "@dormouse/contract";
import type { ContractRouterClient } from "@orpc/contract";
import type { OpenConnections } from "../open-connections.ts";
import { type Exchange, exchangeHttp1, exchangeHttp2, exchangeUpgrade } from "./exchange.ts";
import { cookieOf, credentialsOf, isSecureOrigin, sessionCookie, setCookie, stateCookie, toServer } from "./headers.ts";
import { originUrl, type PortOrigin, type PortsDomain } from "./origin.ts";
import { isNavigation, respondErrorPage, respondLinkPage } from "./pages.ts";
import { keyOf, type PortAccess, type PortAccessControl, type PortVisit } from "./port-access.ts";
import { openTunnel, secure } from "./tunnel.ts";

/** Answers requests to ports' origins. */
export interface PortServer {
  /** @throws DormouseError to be told as JSON; navigations get a page instead. */
  serve(request: IncomingMessage, response: ServerResponse, origin: PortOrigin): Promise<void>;
  serveUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, origin: PortOrigin): Promise<void>;
  /** At the platform: brings somebody who is signed in back to the port, with a ticket that works once. */
  enter(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

/** Where {@link PortServer.enter} is, at the platform. */
export const enterPath = "/ports/enter";

/** Paths of a port's origin that are the gateway's own. */
const ownPaths = "/.dormouse/";
const stateSeconds = 600;
const linkBodyBytes = 4096;

/** Makes the {@link PortServer}. */
export function createPortServer(options: {
  internal: ContractRouterClient<InternalContract>;
  access: PortAccessControl;
  open: OpenConnections;
  publicUrl: string;
  ports: PortsDomain;
}): PortServer {
  const { internal, access, open, publicUrl, ports } = options;
  const isSecure = isSecureOrigin(ports);

  function visitOf(request: IncomingMessage, origin: PortOrigin, kind: PortVisit["kind"]): PortVisit {
    return { ...origin, ...credentialsOf(request), kind };
  }

  /** Who gets in, and the connection to what listens. A machine that fell asleep a moment ago is woken by asking again. */
  async function connect(request: IncomingMessage, visit: PortVisit): Promise<{ found: PortAccess; tunnel: Socket }> {
    const enter = async () => {
      const found = await access.open(visit);
      const byCookie = visit.authorization === undefined && found.visibility !== "public";
      if (byCookie && !isHarmless(request, visit)) checkOrigin(request.headers, request.headers.host);
      return { found, tunnel: await openTunnel(found, visit.port) };
    };
    return await enter().catch((error: unknown) => {
      if (DormouseError.from(error).details.away !== true) throw error;
      access.forget(visit);
      return enter();
    });
  }

  /** Cuts the tunnel when whoever came through it may no longer, or leaves. */
  function watch(visit: PortVisit, tunnel: Socket, client: { once(event: "close", listener: () => void): unknown }) {
    const forget = open.add({
      key: keyOf(visit),
      mayGoOn: () => access.mayGoOn(visit),
      end: () => tunnel.resetAndDestroy(),
    });
    tunnel.once("close", forget);
    tunnel.on("error", () => tunnel.destroy());
    client.once("close", () => tunnel.resetAndDestroy());
  }

  async function forward(request: IncomingMessage, response: ServerResponse, origin: PortOrigin): Promise<void> {
    const visit = visitOf(request, origin, "http");
    const { found, tunnel } = await connect(request, visit);
    watch(visit, tunnel, response);
    const exchange: Exchange = {
      ...{ request, connection: tunnel, port: origin.port },
      headers: toServer(request, ports.scheme),
    };
    if (found.protocol === "h2c") return await exchangeHttp2({ ...exchange, scheme: "http" }, response);
    if (found.protocol === "http") return await exchangeHttp1(exchange, response);
    const connection = await secure(tunnel, origin.port);
    if (connection.alpnProtocol === "h2") await exchangeHttp2({ ...exchange, connection, scheme: "https" }, response);
    else await exchangeHttp1({ ...exchange, connection }, response);
  }

  /** Navigations of people who are not known here go to the platform, where they may be, and come back. */
  function sendToPlatform(request: IncomingMessage, response: ServerResponse, origin: PortOrigin): void {
    const kept = cookieOf(request.headers.cookie, stateCookie);
    // Of several tabs that come at once each finds the state of the first.
    const state = kept !== undefined && /^[\w-]{32,64}$/.test(kept) ? kept : randomBytes(32).toString("base64url");
    const query = new URLSearchParams({
      ...{ workspace: origin.label, port: String(origin.port) },
      challenge: createHash("sha256").update(state).digest("hex"),
      path: request.url ?? "/",
    });
    response.writeHead(303, {
      location: `${publicUrl}${enterPath}?${query}`,
      "set-cookie": setCookie({
        ...{ name: stateCookie, value: state, path: ownPaths, maxAgeSeconds: stateSeconds, isSecure },
      }),
      ...quiet,
    });
    response.end();
  }

  async function serveOwn(request: IncomingMessage, response: ServerResponse, origin: PortOrigin, url: URL) {
    const { label, port } = origin;
    const admit = (location: string, { token, expiresAt }: { token: string; expiresAt: string }, status: number) => {
      const maxAgeSeconds = Math.max(1, Math.floor((Date.parse(expiresAt) - Date.now()) / 1000));
      response.writeHead(status, {
        ...(status === 303 && { location }),
        "set-cookie": [
          setCookie({ name: sessionCookie, value: token, path: "/", maxAgeSeconds, isSecure }),
          setCookie({ name: stateCookie, value: "", path: ownPaths, maxAgeSeconds: 0, isSecure }),
        ],
        ...quiet,
      });
      response.end();
    };
    if (url.pathname === "/.dormouse/enter" && request.method === "GET") {
      const ticket = url.searchParams.get("ticket") ?? "";
      const state = cookieOf(request.headers.cookie, stateCookie) ?? "";
      const session = await told(internal.enterPort({ label, port, ticket, state }));
      admit(pathOf(url.searchParams.get("path")), session, 303);
    } else if (url.pathname === "/.dormouse/link" && request.method === "GET") {
      respondLinkPage(response);
    } else if (url.pathname === "/.dormouse/link" && request.method === "POST") {
      checkOrigin({ ...request.headers, cookie: "any" }, request.headers.host);
      const link = await readToken(request);
      admit("/", await told(internal.enterPortByLink({ label, port, link })), 204);
    } else throw new DormouseError("not_found", `there is nothing at ${url.pathname}`);
  }

  return {
    async serve(request, response, origin) {
      const url = request.url?.startsWith("/") ? URL.parse(request.url, "http://port") : null;
      if (!url && request.url !== "*") throw new DormouseError("invalid_argument", "this is no path of a server");
      try {
        if (url?.pathname.startsWith(ownPaths)) await serveOwn(request, response, origin, url);
        else await forward(request, response, origin);
      } catch (error) {
        if (response.headersSent || !isNavigation(request)) throw error;
        const isUnknown = DormouseError.from(error).code === "unauthenticated";
        if (isUnknown && !url?.pathname.startsWith(ownPaths)) sendToPlatform(request, response, origin);
        else respondErrorPage(response, error);
      }
    },

    async serveUpgrade(request, socket, head, origin) {
      if (request.headers.upgrade?.toLowerCase() !== "websocket") {
        throw new DormouseError("invalid_argument", "a connection can be upgraded to a WebSocket only");
      }
      const visit = visitOf(request, origin, "webSocket");
      const { found, tunnel } = await connect(request, visit);
      watch(visit, tunnel, socket);
      if (found.protocol === "h2c") {
        tunnel.destroy();
        throw new DormouseError("unimplemented", `port ${origin.port} speaks h2c, which has no WebSockets here`);
      }
      const connection = found.protocol === "https" ? await secure(tunnel, origin.port) : tunnel;
      if (connection instanceof TLSSocket && connection.alpnProtocol === "h2") {
        tunnel.destroy();
        throw new DormouseError("unimplemented", `port ${origin.port} chose HTTP/2, which has no WebSockets here`);
      }
      const headers = toServer(request, ports.scheme);
      await exchangeUpgrade({ request, connection, headers, port: origin.port }, socket, head);
    },

    async enter(request, response) {
      const { searchParams } = new URL(request.url ?? "/", publicUrl);
      const label = searchParams.get("workspace") ?? "";
      const port = Number(searchParams.get("port"));
      const challenge = searchParams.get("challenge") ?? "";
      const path = pathOf(searchParams.get("path"));
      const { cookie } = request.headers;
      try {
        const { ticket } = await told(internal.portTicket({ label, port, challenge, cookie }));
        const query = new URLSearchParams({ ticket, path });
        const location = `${originUrl({ label, port }, ports)}/.dormouse/enter?${query}`;
        response.writeHead(303, { location, ...quiet }).end();
      } catch (error) {
        if (DormouseError.from(error).code !== "unauthenticated") return respondErrorPage(response, error);
        const next = `${enterPath}?${searchParams}`;
        response.writeHead(303, { location: `/signin?next=${encodeURIComponent(next)}`, ...quiet }).end();
      }
    },
  };
}

/**
 * Whether a request by cookie may come from any page: it is a link that somebody follows. What pages load by themselves must
 * be of the port's own origin: ports of one domain are one site, whose cookies browsers send along.
 */
function isHarmless(request: IncomingMessage, { kind }: PortVisit): boolean {
  const site = request.headers["sec-fetch-site"];
  const isOwn = site === undefined || site === "none" || site === "same-origin";
  const isRead = request.method === "GET" || request.method === "HEAD";
  return kind === "http" && isRead && (isOwn || isNavigation(request));
}

const quiet = { "cache-control": "no-store", "referrer-policy": "no-referrer" };

/** A path of the same origin, whatever was asked for. */
function pathOf(text: string | null): string {
  return text !== null && /^\/(?![/\\])/.test(text) && !/[\r\n\t]/.test(text) ? text : "/";
}

async function told<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw fromRpcError(error);
  }
}

async function readToken(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > linkBodyBytes) throw new DormouseError("invalid_argument", "a link's token is not as long");
  }
  try {
    const { token } = JSON.parse(text) as { token?: unknown };
    if (typeof token === "string" && token.length <= 200) return token;
  } catch {
    // Told below.
  }
  throw new DormouseError("invalid_argument", 'token: the body must be JSON such as {"token":"dml_…"}');
}
