import { type Clock, systemClock } from "./clock.ts";
import { DormouseError } from "./errors.ts";

/** Waits on the machine's clock; rejects with the signal's reason when aborted. */
export function sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
  return systemClock.sleep(durationMs, signal);
}

/**
 * Runs `work` with a signal that aborts after `timeoutMs` or with `signal`.
 * Rejects with `deadline_exceeded` naming `what` when the time is over, even if
 * the work ignores its signal.
 */
export async function withTimeout<T>(
  what: string,
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const expired = new DormouseError("deadline_exceeded", `${what} took longer than ${timeoutMs} ms`);
  const onAbort = () => controller.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(() => controller.abort(expired), timeoutMs);
  const aborted = new Promise<never>((_, reject) => {
    if (controller.signal.aborted) reject(controller.signal.reason);
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
  });
  try {
    return await Promise.race([work(controller.signal), aborted]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** How {@link retry} goes about it. */
export interface RetryOptions {
  /** Attempts in all, the first included. */
  attempts: number;
  /** Pause before the second attempt; doubles up to `maxDelayMs`. */
  delayMs: number;
  maxDelayMs?: number;
  /** Returns false for an error that another attempt cannot cure. */
  isRetryable?: (error: unknown) => boolean;
  signal?: AbortSignal;
  clock?: Clock;
}

/** Runs `work` until it succeeds or the attempts are used up; rejects with the last error. */
export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const clock = options.clock ?? systemClock;
  let delayMs = options.delayMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      const final = attempt >= options.attempts || options.isRetryable?.(error) === false;
      if (final || options.signal?.aborted) throw error;
      await clock.sleep(delayMs, options.signal);
      delayMs = Math.min(delayMs * 2, options.maxDelayMs ?? 30_000);
    }
  }
}
