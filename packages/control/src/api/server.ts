import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { DormouseError, type Logger } from "@dormouse/base";
import { checkOrigin, toErrorBody, toRpcError } from "@dormouse/contract";
import { OpenAPIHandler } from "@orpc/openapi/node";
import type { Auth } from "../accounts/auth.ts";
import type { Authenticator } from "../accounts/authenticate.ts";
import type { ExtensionRoutes } from "../extensions/routes.ts";
import type { PrebuildService } from "../prebuilds/service.ts";
import { handleAuth } from "./auth-routes.ts";
import { readBody, refuseLargeBody, respondError, respondJson } from "./respond.ts";
import type { ApiRouter } from "./router.ts";

/** A documentation page or document, made when it is first asked for. */
export type Document = () => Promise<{ headers: Record<string, string>; body: string }>;

/** A file of 32 MiB never comes through here, so a request's body is small: settings are the largest. */
const maxBodyBytes = 4 * 1024 * 1024;

/** The HTTP server of the public API, not yet listening. The gateway stands in front of it. */
export function createApiServer(options: {
  router: ApiRouter;
  auth: Auth;
  authenticator: Authenticator;
  prebuilds: Pick<PrebuildService, "notify">;
  extensions: ExtensionRoutes;
  documents: Readonly<Record<string, Document>>;
  log: Logger;
}): Server {
  const { router, auth, authenticator, prebuilds, extensions, documents, log } = options;
  const handler = new OpenAPIHandler(router, {
    customErrorResponseBodyEncoder: toErrorBody,
    // Refused inputs and outputs are thrown outside of the router's own middleware.
    clientInterceptors: [
      async ({ next }) => {
        try {
          return await next();
        } catch (caught) {
          const error = toRpcError(caught);
          if (error.status === 500) log.error("a call failed", { code: error.code, error });
          throw error;
        }
      },
    ],
    eventIteratorKeepAliveInterval: 10_000,
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://control");
    const { pathname } = url;
    const method = request.method ?? "GET";
    const document = documents[pathname];
    if (document && (method === "GET" || method === "HEAD")) {
      const { headers, body } = await document();
      response.writeHead(200, { ...headers, "cache-control": "no-cache", "x-content-type-options": "nosniff" });
      response.end(method === "HEAD" ? undefined : body);
      return;
    }
    if (pathname === "/api/health") return respondJson(response, 200, { status: "ok" });
    if (await extensions.serveOpen(request, response, pathname)) return;
    const isPackage = pathname === "/api/me/extensions";
    if (!isPackage) refuseLargeBody(request, maxBodyBytes);
    const [, hooked] = /^\/api\/prebuilds\/([^/]+)\/hook$/.exec(pathname) ?? [];
    if (hooked !== undefined && method === "POST") {
      // Git servers have no key of ours: what they say is signed.
      const signature = request.headers["x-hub-signature-256"];
      const body = await readBody(request, maxBodyBytes);
      await prebuilds.notify(hooked, { body, signature: typeof signature === "string" ? signature : undefined });
      return respondJson(response, 202, { status: "accepted" });
    }
    if (method !== "GET" && method !== "HEAD" && request.headers.authorization === undefined) {
      checkOrigin(request.headers, askedHost(request));
    }
    if (pathname.startsWith("/api/auth/")) {
      return handleAuth({ request, response, auth, onChange: () => authenticator.forgetSessions() });
    }
    const { cookie, authorization } = request.headers;
    const authenticate = () => authenticator.authenticate({ cookie, authorization });
    if (await extensions.serve(request, response, url, authenticate)) return;
    const actor = await authenticate();
    response.setHeader("cache-control", "no-store");
    response.setHeader("x-content-type-options", "nosniff");
    const { matched } = await handler.handle(request, response, { prefix: "/api", context: { actor } });
    if (!matched) throw new DormouseError("not_found", `there is no ${method} ${pathname}; see /api/reference`);
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      const { code, message } = toErrorBody(error);
      if (code === "internal" || code === "unknown") {
        log.error("a request failed", { method: request.method, path: request.url?.split("?")[0], error });
      } else {
        log.debug("a request was refused", { method: request.method, path: request.url?.split("?")[0], code, message });
      }
      respondError(response, error);
    });
  });
  // Only the gateway connects here. Answers may take long (exec, events); requests may not.
  server.requestTimeout = 60_000;
  server.headersTimeout = 20_000;
  server.keepAliveTimeout = 75_000;
  return server;
}

/** The host that the browser asked for; the gateway says it. */
function askedHost(request: IncomingMessage): string | undefined {
  const forwarded = request.headers["x-forwarded-host"];
  return typeof forwarded === "string" ? forwarded : request.headers.host;
}
