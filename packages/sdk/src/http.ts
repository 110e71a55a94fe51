import { DormouseError, type ErrorCode, sleep } from "@dormouse/base";

/** What a call may say about itself. */
export interface CallContext {
  /** How long the answer may take to begin; default the connection's. */
  timeoutMs?: number;
}

/** How {@link createSender} sends. */
export interface SenderOptions {
  /** Undefined in a page, whose session cookie goes along. */
  apiKey?: string;
  /** How long an answer may take to begin. */
  requestTimeoutMs: number;
}

/** Sends one request. Rejects with a DormouseError for every answer that is none, and every refusal that says why. */
export type Sender = (request: Request, context?: CallContext) => Promise<Response>;

// A server that has answered before and is away now is being restarted: that takes about a second.
const restartMs = 10_000;

/**
 * A `fetch` that adds credentials and a time limit, waits for a server that restarts,
 * and turns failures into DormouseErrors: `unavailable` naming the address when nothing
 * answers, `deadline_exceeded` naming it when the answer takes too long.
 */
export function createSender(options: SenderOptions): Sender {
  let hasAnswered = false;
  return async (request, context) => {
    if (options.apiKey !== undefined) request.headers.set("authorization", `Bearer ${options.apiKey}`);
    const timeoutMs = context?.timeoutMs ?? options.requestTimeoutMs;
    const giveUpMs = performance.now() + restartMs;
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 1000)) {
      // A body is a stream that is read once: only what was surely not sent goes out again.
      const attempt = request.body === null ? request.clone() : request;
      try {
        const response = await answerWithin(timeoutMs, attempt);
        hasAnswered = true;
        if (!response.ok) await throwRefusal(response);
        return response;
      } catch (error) {
        const isAgainPossible = hasAnswered && isCut(error) && request.body === null && request.method === "GET";
        if (!isAgainPossible || performance.now() + delayMs > giveUpMs) throw error;
        await sleep(delayMs, request.signal);
      }
    }
  };
}

async function answerWithin(timeoutMs: number, request: Request): Promise<Response> {
  const controller = new AbortController();
  const expired = new DormouseError(
    "deadline_exceeded",
    `${request.method} ${pathOf(request)} was not answered within ${timeoutMs} ms`,
  );
  const timer = setTimeout(() => controller.abort(expired), timeoutMs);
  try {
    // The request's own signal stays in force for the body; this one only guards the wait for the answer.
    return await fetch(request, { signal: AbortSignal.any([request.signal, controller.signal]), redirect: "manual" });
  } catch (error) {
    if (controller.signal.aborted) throw expired;
    if (request.signal.aborted) throw DormouseError.from(request.signal.reason ?? error, "cancelled");
    throw unavailable(request, error);
  } finally {
    clearTimeout(timer);
  }
}

function unavailable(request: Request, error: unknown): DormouseError {
  const { origin } = new URL(request.url);
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  const message =
    cause?.code === "ECONNREFUSED"
      ? `nothing answers at ${origin}: is Dormouse running there?`
      : `no answer from ${origin}: ${cause?.message || cause?.code || (error as Error).message}`;
  return new DormouseError("unavailable", message, { cause: error, details: { connection: true } });
}

function isCut(error: unknown): boolean {
  return error instanceof DormouseError && error.code === "unavailable" && error.details.connection === true;
}

/** Throws what the answer says when it says it in Dormouse's form; oRPC's own form is left to oRPC. */
async function throwRefusal(response: Response): Promise<void> {
  const text = await response.clone().text();
  const body = parseJson(text);
  const error = DormouseError.fromJSON(body);
  if (error) throw error;
  if (typeof body === "object" && body !== null) return;
  throw new DormouseError(codeOfStatus(response.status), text.trim().slice(0, 500) || `HTTP ${response.status}`);
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return "unauthenticated";
  if (status === 403) return "permission_denied";
  if (status === 404) return "not_found";
  if (status === 429) return "resource_exhausted";
  if (status === 502 || status === 503) return "unavailable";
  if (status === 504) return "deadline_exceeded";
  return status < 500 ? "invalid_argument" : "internal";
}

function pathOf(request: Request): string {
  return new URL(request.url).pathname;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the caller shows the text itself.
    return undefined;
  }
}
