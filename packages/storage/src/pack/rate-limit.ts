import type { Clock } from "@dormouse/base";

/** Holds bytes back so that, over time, no more than so many pass in a second. */
export interface RateLimit {
  /** Resolves when the bytes may pass. */
  take(bytes: number, signal?: AbortSignal): Promise<void>;
}

/** A {@link RateLimit} shared by everything that takes from it; without a limit nothing waits. */
export function createRateLimit(bytesPerSecond: number | undefined, clock: Clock): RateLimit {
  let freeMs = 0;
  return {
    async take(bytes, signal) {
      if (bytesPerSecond === undefined) return;
      const nowMs = clock.nowMs();
      const waitMs = freeMs - nowMs;
      // Booked before waiting, so that several takers queue up one behind the other.
      freeMs = Math.max(freeMs, nowMs) + (bytes / bytesPerSecond) * 1000;
      if (waitMs > 0) await clock.sleep(waitMs, signal);
    },
  };
}
