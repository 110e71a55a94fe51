import { DormouseError, type ErrorCode } from "@dormouse/base";

/** Error codes of S3 (API reference, "Error responses") that mean more than their HTTP status. */
const codes: Readonly<Record<string, ErrorCode>> = {
  NoSuchKey: "not_found",
  NotFound: "not_found",
  // A missing bucket is a wrong setting, not a missing object.
  NoSuchBucket: "failed_precondition",
  PreconditionFailed: "already_exists",
  // Two conditional puts of one key at the same moment: the other one wins.
  ConditionalRequestConflict: "already_exists",
  AccessDenied: "permission_denied",
  InvalidAccessKeyId: "unauthenticated",
  SignatureDoesNotMatch: "unauthenticated",
  ExpiredToken: "unauthenticated",
  CredentialsProviderError: "unauthenticated",
  QuotaExceeded: "resource_exhausted",
  XMinioStorageFull: "resource_exhausted",
  EntityTooLarge: "resource_exhausted",
  NotImplemented: "unimplemented",
  TimeoutError: "deadline_exceeded",
};

const statuses: Readonly<Record<number, ErrorCode>> = {
  401: "unauthenticated",
  403: "permission_denied",
  404: "not_found",
  412: "already_exists",
  507: "resource_exhausted",
};

interface S3Fault {
  name?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number };
}

/**
 * Runs one operation; whatever it throws becomes one of our errors that names key and
 * store. What is not known to be final is `unavailable`: another attempt may help.
 */
export async function naming<T>(
  operation: { key: string; store: string; signal: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  const { key, store, signal } = operation;
  try {
    return await work();
  } catch (caught) {
    if (caught instanceof DormouseError) throw caught;
    if (signal?.aborted) {
      throw new DormouseError("cancelled", `${key} in ${store}: cancelled`, { cause: signal.reason });
    }
    const fault = caught as S3Fault;
    const status = fault.$metadata?.httpStatusCode;
    const code = codes[fault.name ?? ""] ?? statuses[status ?? 0] ?? DormouseError.from(caught, "unavailable").code;
    // Some servers send no message, and then the SDK says "UnknownError".
    const words = fault.message && fault.message !== "UnknownError" ? fault.message : fault.name;
    throw new DormouseError(code, `${key} in ${store}: ${words}${status ? ` (HTTP ${status})` : ""}`, {
      cause: caught,
    });
  }
}
