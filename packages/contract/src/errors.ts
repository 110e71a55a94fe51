import { DormouseError, type ErrorCode, errorCodes, httpStatusOf } from "@dormouse/base";
import { ORPCError } from "@orpc/client";

/**
 * The form in which an error crosses an oRPC boundary: code in upper case, the
 * message, the details as data. Causes stay behind. Errors that are none of ours
 * become `internal` without their text, which may hold anything.
 */
export function toRpcError(caught: unknown): ORPCError<string, unknown> {
  if (caught instanceof ORPCError) return caught;
  const error =
    caught instanceof DormouseError
      ? caught
      : new DormouseError("internal", "something went wrong inside Dormouse; its log says what", { cause: caught });
  return new ORPCError(error.code.toUpperCase(), {
    status: httpStatusOf(error.code),
    message: error.message,
    data: error.details,
    cause: error,
  });
}

const codesOfRpc: Readonly<Record<string, ErrorCode>> = {
  BAD_REQUEST: "invalid_argument",
  UNAUTHORIZED: "unauthenticated",
  FORBIDDEN: "permission_denied",
  CONFLICT: "already_exists",
  METHOD_NOT_SUPPORTED: "unimplemented",
  TIMEOUT: "deadline_exceeded",
  TOO_MANY_REQUESTS: "resource_exhausted",
  INTERNAL_SERVER_ERROR: "internal",
  SERVICE_UNAVAILABLE: "unavailable",
  CLIENT_CLOSED_REQUEST: "cancelled",
};

/**
 * What a client makes of an error it received: the {@link DormouseError} that was
 * thrown at the other side. A refused input names each field that was wrong. A
 * connection that failed is `unavailable`.
 */
export function fromRpcError(caught: unknown): DormouseError {
  if (caught instanceof DormouseError) return caught;
  if (!(caught instanceof ORPCError)) {
    const isNetwork = caught instanceof TypeError;
    return DormouseError.from(caught, isNetwork ? "unavailable" : "unknown");
  }
  const lower = caught.code.toLowerCase();
  const code = codesOfRpc[caught.code] ?? (errorCodes.includes(lower as ErrorCode) ? (lower as ErrorCode) : "unknown");
  const data = (caught.data ?? {}) as Record<string, unknown>;
  return new DormouseError(code, describeIssues(data) ?? caught.message, { details: data, cause: caught });
}

function describeIssues(data: Record<string, unknown>): string | undefined {
  if (!Array.isArray(data.issues)) return undefined;
  const lines = data.issues.map((issue: { path?: unknown[]; message?: string }) => {
    const field = (issue.path ?? []).map(String).join(".");
    return field ? `${field}: ${issue.message}` : String(issue.message);
  });
  return lines.length > 0 ? lines.join("; ") : undefined;
}

/**
 * The one body of every refusal of the REST API: `{ code, message, details }`, with
 * {@link httpStatusOf} the code as its status. For `customErrorResponseBodyEncoder` of
 * the OpenAPI handler and for answers outside of it.
 */
export function toErrorBody(caught: unknown): ReturnType<DormouseError["toJSON"]> {
  const error = fromRpcError(toRpcError(caught));
  // The issues are in the message already, and hold validator internals.
  const { issues: _, ...details } = error.details;
  return { code: error.code, message: error.message, details };
}

/**
 * Reads {@link toErrorBody}'s form back, so that {@link fromRpcError} gives the error that
 * was thrown; null for any other body. For `customErrorResponseBodyDecoder` of an OpenAPI link.
 */
export function fromErrorBody(body: unknown): ORPCError<string, unknown> | null {
  const error = DormouseError.fromJSON(body);
  return error ? toRpcError(error) : null;
}

/**
 * For `.use(({ next }) => convertRpcErrors(() => next()))` around every procedure: whatever it
 * throws, before its answer or while it streams one, leaves as {@link toRpcError} gives it.
 */
export async function convertRpcErrors<T extends { output: unknown }>(next: () => T | PromiseLike<T>): Promise<T> {
  try {
    const result = await next();
    if (!isAsyncGenerator(result.output)) return result;
    return { ...result, output: convertStreamErrors(result.output) };
  } catch (error) {
    throw toRpcError(error);
  }
}

async function* convertStreamErrors(stream: AsyncGenerator<unknown>): AsyncGenerator<unknown> {
  try {
    return yield* stream;
  } catch (error) {
    throw toRpcError(error);
  }
}

function isAsyncGenerator(value: unknown): value is AsyncGenerator<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value && "next" in value;
}
