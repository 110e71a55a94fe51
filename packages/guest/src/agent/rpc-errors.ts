import { DormouseError } from "@dormouse/base";
import { toRpcError } from "@dormouse/contract/errors";
import { ORPCError } from "@orpc/client";

interface Issue {
  path?: readonly unknown[];
  message: string;
}

/**
 * Around every call: what it throws, at once or later in its stream, crosses the boundary as a
 * DormouseError does. Faults that are none of these are told to `onFault`, for the log.
 */
export async function convertErrors<T>(work: () => Promise<T>, onFault: (error: unknown) => void): Promise<T> {
  try {
    const output = await work();
    return isGenerator(output) ? (convertStream(output, onFault) as T) : output;
  } catch (error) {
    throw convert(error, onFault);
  }
}

async function* convertStream(stream: AsyncGenerator<unknown>, onFault: (error: unknown) => void) {
  try {
    return yield* stream;
  } catch (error) {
    throw convert(error, onFault);
  }
}

function convert(error: unknown, onFault: (error: unknown) => void): ORPCError<string, unknown> {
  if (error instanceof ORPCError) return namingFields(error);
  if (error instanceof DormouseError || isSystemError(error)) {
    const known = DormouseError.from(error);
    if (known.code === "internal") onFault(error);
    return toRpcError(known);
  }
  onFault(error);
  return toRpcError(error);
}

/** A refused input says in its message which fields were wrong; the issues stay in its data. */
function namingFields(error: ORPCError<string, unknown>): ORPCError<string, unknown> {
  const issues = (error.data as { issues?: readonly Issue[] } | undefined)?.issues;
  if (error.code !== "BAD_REQUEST" || !issues) return error;
  const lines = issues.map(({ path, message }) => (path?.length ? `${path.map(fieldName).join(".")}: ` : "") + message);
  const message = lines.join("; ");
  return new ORPCError("INVALID_ARGUMENT", { status: 400, message, data: { issues } });
}

function fieldName(part: unknown): string {
  const key = typeof part === "object" && part !== null && "key" in part ? part.key : part;
  return String(key);
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === "string";
}

function isGenerator(value: unknown): value is AsyncGenerator<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
