import type { IncomingMessage, ServerResponse } from "node:http";
import { DormouseError, type ErrorCode } from "@dormouse/base";
import { type Auth, authPath } from "../accounts/auth.ts";
import { readBody, respondError } from "./respond.ts";

/** What of better-auth is offered: what the product uses, and nothing that it does not know about. */
const offered = [
  ...["/sign-in/email", "/sign-in/link", "/invitation", "/sign-up/invitation"],
  ...["/sign-out", "/get-session", "/list-sessions", "/revoke-session"],
];

const maxBodyBytes = 64 * 1024;

const codes: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_argument",
  401: "unauthenticated",
  403: "permission_denied",
  404: "not_found",
  409: "already_exists",
  422: "invalid_argument",
  429: "resource_exhausted",
};

/** Lets better-auth answer a request, with refusals in the form of all others. */
export async function handleAuth(options: {
  request: IncomingMessage;
  response: ServerResponse;
  auth: Auth;
  /** Called after whatever may have begun or ended a session. */
  onChange: () => void;
}): Promise<void> {
  const { request, response, auth, onChange } = options;
  const url = new URL(request.url ?? "/", "http://control");
  const path = url.pathname.slice(authPath.length);
  if (!offered.includes(path)) {
    throw new DormouseError("not_found", `there is no ${request.method} ${url.pathname}; see /api/reference`);
  }
  const hasBody = request.method !== "GET" && request.method !== "HEAD";
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  const { options: settings } = auth;
  const answer = await auth.handler(
    new Request(new URL(url.pathname + url.search, settings.baseURL), {
      method: request.method,
      headers,
      body: hasBody ? new Uint8Array(await readBody(request, maxBodyBytes)) : undefined,
    }),
  );
  if (hasBody) onChange();
  if (answer.status >= 400) {
    const retryAfter = answer.headers.get("x-retry-after");
    if (retryAfter) response.setHeader("retry-after", retryAfter);
    const body = (await answer.json().catch(() => undefined)) as { message?: string } | undefined;
    const code = codes[answer.status] ?? "internal";
    // What went wrong inside is in the log.
    const message = code === "internal" ? "signing in does not work now; control's log says why" : body?.message;
    return respondError(response, new DormouseError(code, message ?? "this request was refused"));
  }
  response.statusCode = answer.status;
  for (const [name, value] of answer.headers) if (name !== "set-cookie") response.setHeader(name, value);
  const cookies = answer.headers.getSetCookie();
  if (cookies.length > 0) response.setHeader("set-cookie", cookies);
  response.setHeader("cache-control", "no-store");
  response.end(Buffer.from(await answer.arrayBuffer()));
}
