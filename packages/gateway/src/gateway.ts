import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { normalize } from "node:path";
import type { Duplex } from "node:stream";
import { DormouseError, type Logger } from "@dormouse/base";
import { checkOrigin, toErrorBody } from "@dormouse/contract";
import { type Access, connectInternal, createAccessControl } from "./access.ts";
import type { GatewayConfig } from "./config.ts";
import { assetHeaders, pageHeaders, toClient, toControl, toGuest } from "./headers.ts";
import { createOpenConnections } from "./open-connections.ts";
import { portOriginOf } from "./ports/origin.ts";
import { createPortAccess } from "./ports/port-access.ts";
import { createPortServer } from "./ports/serve.ts";
import { createProxy, hasBody, type Upstream } from "./proxy.ts";
import { refuseUpgrade, respondError } from "./respond.ts";
import { route } from "./routes.ts";
import { serveFile } from "./static-files.ts";

/** The gateway, running. Disposing it closes its port and every connection; clients come back by themselves. */
export interface Gateway extends AsyncDisposable {
  /** `http://host:port`, as it listens. */
  url: string;
}

/** A body that stands still for this long is given up. */
const idleBodyMs = 120_000;
const headersTimeoutMs = 20_000;
const maxConnections = 10_000;

/** Starts the gateway: pages, the API, and the way into machines. It keeps nothing that a restart could lose. */
export async function startGateway(config: GatewayConfig, log: Logger): Promise<Gateway> {
  const internal = connectInternal(config);
  const access = createAccessControl(internal);
  using resources = new DisposableStack();
  const open = resources.use(createOpenConnections());
  const publicUrl = config.publicUrl.replace(/\/+$/, "");
  const ports =
    config.portsDomain === null ? undefined : { scheme: new URL(publicUrl).protocol, domain: config.portsDomain };
  const portServer =
    ports && createPortServer({ internal, access: createPortAccess(internal), open, publicUrl, ports });
  const proxy = createProxy();
  const folders = { workbench: normalize(config.workbenchDir), console: normalize(config.consoleDir) };

  async function enter(request: IncomingMessage, workspace: string, path: string) {
    const found = await access.resolve(request.headers, workspace);
    const upstream: Upstream = {
      name: "the workspace's machine",
      url: found.hostUrl,
      path: `/machines/${found.workspaceId}/guest${path}`,
      headers: toGuest(request, found.hostToken),
    };
    return { found, upstream };
  }

  /** What control said may be old when the host does not know the machine any more. */
  async function forgetting<T>(found: Access, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      access.forget(found);
      throw error;
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const port = portOriginOf(request, ports);
    if (port && portServer) return await portServer.serve(request, response, port);
    const target = route(request.url ?? "");
    const { host, cookie } = request.headers;
    switch (target.to) {
      case "control": {
        const headers = toControl(request, config.publicUrl);
        const upstream = { name: "the platform", url: config.controlUrl, path: target.path, headers };
        await proxy.forward({
          request,
          response,
          upstream,
          answerHeaders: ({ headers }) => toClient(headers, "control"),
        });
        return;
      }
      case "guest": {
        if (request.headers.authorization === undefined && !isRead(request)) checkOrigin(request.headers, host);
        // Control's answer may be a moment old, and the machine asleep by now: asked again, control wakes it.
        for (const mayBeAway of [true, false]) {
          const { found, upstream } = await enter(request, target.workspace, target.path);
          const outcome = await forgetting(found, () =>
            proxy.forward({
              request,
              response,
              upstream,
              mayBeAway,
              answerHeaders: ({ headers, statusCode = 0 }) => {
                if (statusCode === 401 || statusCode === 404 || statusCode === 503) access.forget(found);
                return toClient(headers, "guest");
              },
            }),
          );
          if (outcome === "answered") return;
          access.forget(found);
        }
        return;
      }
      case "port-entry":
        if (!portServer) throw new DormouseError("not_found", "this platform has no domain for ports");
        return await portServer.enter(request, response);
      case "page": {
        if (target.needsSignIn && !cookie?.includes("dormouse.session_token")) {
          response.writeHead(302, { location: `/signin?next=${encodeURIComponent(request.url ?? "/")}` }).end();
          return;
        }
        const folder = folders[target.page];
        return serveFile({ request, response, folder, path: "index.html", headers: pageHeaders(host) });
      }
      case "asset": {
        const headers = assetHeaders(target.path, host);
        return serveFile({ request, response, folder: folders[target.of], path: target.path, headers });
      }
    }
  }

  async function handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const port = portOriginOf(request, ports);
    if (port && portServer) return await portServer.serveUpgrade(request, socket, head, port);
    const target = route(request.url ?? "");
    if (target.to !== "guest") throw new DormouseError("not_found", "there is no WebSocket at this address");
    const isTunnel = /^\/port\/\d+$/.test(target.path);
    const upgrade = request.headers.upgrade?.toLowerCase() ?? "";
    if (upgrade !== (isTunnel ? "tcp" : "websocket")) {
      throw new DormouseError(
        "invalid_argument",
        "a connection can be upgraded to a WebSocket only, one to a port to tcp",
      );
    }
    if (request.headers.authorization === undefined) checkOrigin(request.headers, request.headers.host);
    const join = async () => {
      const { found, upstream } = await enter(request, target.workspace, target.path);
      const headers = { ...upstream.headers, connection: "Upgrade", upgrade };
      await forgetting(found, () => proxy.upgrade({ request, socket, head, upstream: { ...upstream, headers } }));
      return found;
    };
    const { cookie = "", authorization = "" } = request.headers;
    const forget = open.add({
      key: `${target.workspace}\n${cookie}\n${authorization}`,
      mayGoOn: () => access.mayGoOn(request.headers, target.workspace),
      end: () => socket.destroy(),
    });
    socket.once("close", forget);
    // As with requests: a machine that fell asleep a moment ago is woken by asking again.
    const found = await join().catch((error: unknown) => {
      if (DormouseError.from(error).details.away !== true) throw error;
      return join();
    });
    // A machine that is gone ends its connections; the next one should ask anew.
    access.forget(found);
  }

  const server = createServer((request, response) => {
    giveUpIdleBody(request);
    handle(request, response).catch((error: unknown) => {
      note(request, error);
      respondError(response, error);
    });
  });
  const upgraded = new Set<Duplex>();
  server.on("upgrade", (request, socket: Duplex, head) => {
    upgraded.add(socket);
    socket.once("close", () => upgraded.delete(socket));
    // Until both sides are joined nobody else listens, and a reset by the client must not end the process.
    socket.on("error", () => socket.destroy());
    handleUpgrade(request, socket, head).catch((error: unknown) => {
      note(request, error);
      refuseUpgrade(socket, error);
    });
  });
  server.on("clientError", (_error, socket) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    else socket.destroy();
  });
  // Uploads may take long; that they move is watched per request.
  server.requestTimeout = 0;
  server.headersTimeout = headersTimeoutMs;
  server.keepAliveTimeout = 65_000;
  server.maxConnections = maxConnections;

  function note(request: IncomingMessage, error: unknown) {
    const { code, message } = toErrorBody(error);
    // The query may hold names of files; the path is enough to find the call.
    const fields = { method: request.method, path: request.url?.split("?")[0], code };
    if (code === "internal" || code === "unknown") log.error("a request failed", { ...fields, error });
    else log.debug("a request was refused", { ...fields, reason: message });
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(config.listen.port, config.listen.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  const running = resources.move();
  return {
    url: `http://${config.listen.host.includes(":") ? `[${config.listen.host}]` : config.listen.host}:${port}`,
    async [Symbol.asyncDispose]() {
      running.dispose();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of upgraded) socket.destroy();
      });
    },
  };
}

function isRead(request: IncomingMessage): boolean {
  return request.method === "GET" || request.method === "HEAD";
}

/** Ends a connection whose request's body does not move; an answer may take as long as it needs. */
function giveUpIdleBody(request: IncomingMessage): void {
  if (!hasBody(request)) return;
  const { socket } = request;
  const onIdle = () => socket.destroy();
  socket.setTimeout(idleBodyMs, onIdle);
  request.once("end", () => {
    socket.setTimeout(0);
    socket.off("timeout", onIdle);
  });
}
