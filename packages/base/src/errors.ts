/**
 * The closed set of codes that every Dormouse error carries, after gRPC's
 * canonical codes (https://grpc.io/docs/guides/status-codes/).
 */
export const errorCodes = [
  "cancelled",
  "unknown",
  "invalid_argument",
  "deadline_exceeded",
  "not_found",
  "already_exists",
  "permission_denied",
  "resource_exhausted",
  "failed_precondition",
  "aborted",
  "out_of_range",
  "unimplemented",
  "internal",
  "unavailable",
  "data_loss",
  "unauthenticated",
] as const;

/** One of {@link errorCodes}. */
export type ErrorCode = (typeof errorCodes)[number];

/** Facts a program can act on: field names, limits, what is free. JSON values only, never secrets. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

const httpStatuses: Record<ErrorCode, number> = {
  cancelled: 499,
  unknown: 500,
  invalid_argument: 400,
  deadline_exceeded: 504,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 409,
  aborted: 409,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  data_loss: 500,
  unauthenticated: 401,
};

/** The HTTP status that stands for a code at the public API. */
export function httpStatusOf(code: ErrorCode): number {
  return httpStatuses[code];
}

/**
 * The one error class of the project. Its message is written for the person who
 * reads it: it names the field, the value and what would be right. `cause` is
 * logged and never sent over a boundary.
 */
export class DormouseError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "DormouseError";
    this.code = code;
    this.details = options.details ?? {};
  }

  /**
   * Converts whatever was caught. A DormouseError is returned as it is, an abort
   * becomes `cancelled`, a time-out `deadline_exceeded`, well-known system errors
   * get the code that fits, anything else becomes `fallback`.
   */
  static from(caught: unknown, fallback: ErrorCode = "internal"): DormouseError {
    if (caught instanceof DormouseError) return caught;
    if (isErrorLike(caught)) {
      const code = codeOfSystemError(caught) ?? fallback;
      return new DormouseError(code, caught.message, { cause: caught });
    }
    return new DormouseError(fallback, String(caught), { cause: caught });
  }

  /** The form that crosses a boundary: code, message and details, without stack or cause. */
  toJSON(): { code: ErrorCode; message: string; details: ErrorDetails } {
    return { code: this.code, message: this.message, details: this.details };
  }

  /** Rebuilds an error from {@link toJSON}'s form; anything else gives undefined. */
  static fromJSON(value: unknown): DormouseError | undefined {
    if (typeof value !== "object" || value === null) return undefined;
    const { code, message, details } = value as Record<string, unknown>;
    if (typeof message !== "string" || !errorCodes.includes(code as ErrorCode)) return undefined;
    return new DormouseError(code as ErrorCode, message, {
      details: typeof details === "object" && details !== null ? (details as ErrorDetails) : {},
    });
  }
}

function isErrorLike(value: unknown): value is Error & { code?: unknown } {
  return value instanceof Error || (typeof value === "object" && value !== null && "message" in value);
}

function codeOfSystemError(error: Error & { code?: unknown }): ErrorCode | undefined {
  if (error.name === "AbortError") return "cancelled";
  if (error.name === "TimeoutError") return "deadline_exceeded";
  switch (error.code) {
    case "ENOENT":
      return "not_found";
    case "EEXIST":
      return "already_exists";
    case "EACCES":
    case "EPERM":
      return "permission_denied";
    case "ENOSPC":
    case "EDQUOT":
    case "EMFILE":
    case "ENFILE":
      return "resource_exhausted";
    case "ECONNREFUSED":
    case "ECONNRESET":
    case "EPIPE":
    case "EHOSTUNREACH":
      return "unavailable";
    case "ETIMEDOUT":
      return "deadline_exceeded";
    default:
      return undefined;
  }
}
