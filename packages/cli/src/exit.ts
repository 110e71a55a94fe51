import { styleText } from "node:util";
import { DormouseError } from "@dormouse/base";

/** What a command's exit code says, besides the exit code of a remote command. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** As timeout(1) does. */
  timedOut: 124,
  /** As shells report a program that may not be executed, and one that is not there. */
  notExecutable: 126,
  noProgram: 127,
  /** 128 + SIGINT, as shells report it. */
  interrupted: 130,
} as const;

/** Prints one line on standard error and answers the exit code. */
export function reportFailure(caught: unknown): number {
  const error = DormouseError.from(caught, "unknown");
  if (error.code === "cancelled") {
    process.stderr.write("dormouse: cancelled\n");
    return exitCodes.interrupted;
  }
  const line = error.message.replace(/\s*\n\s*/g, " ").trim();
  process.stderr.write(`${styleText("red", "dormouse:", { stream: process.stderr })} ${line}\n`);
  if (process.env.DORMOUSE_DEBUG) process.stderr.write(`${error.stack}\n`);
  return error.code === "invalid_argument" && error.details.usage === true ? exitCodes.usage : exitCodes.failed;
}

/** A wrong command line, found by a command itself: exit code 2. */
export function usageError(message: string): DormouseError {
  return new DormouseError("invalid_argument", message, { details: { usage: true } });
}

const sameSignalMs = 1_000;

/**
 * Runs `work` with a signal that the first Ctrl-C (or SIGTERM) aborts, so that what is
 * half made is undone; the second ends the program at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let firstMs = 0;
  const onSignal = () => {
    // One Ctrl-C may arrive twice: from the terminal, and passed on by whoever started this program.
    if (controller.signal.aborted && performance.now() - firstMs < sameSignalMs) return;
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    firstMs = performance.now();
    controller.abort(new DormouseError("cancelled", "cancelled"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await work(controller.signal);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
