import { describe, expect, it } from "vitest";
import { manualClock } from "./clock.ts";
import { retry, withTimeout } from "./time.ts";

describe("withTimeout", () => {
  it("rejects naming what took too long, even when the work ignores its signal", async () => {
    const never = new Promise<never>(() => {});
    await expect(withTimeout("the boot", 5, () => never)).rejects.toThrow("the boot took longer than 5 ms");
  });

  it("aborts the work with the caller's signal", async () => {
    const controller = new AbortController();
    const seen = Promise.withResolvers<unknown>();
    const work = withTimeout(
      "the boot",
      60_000,
      (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      controller.signal,
    ).catch(seen.resolve);
    controller.abort(new Error("the user left"));
    await work;
    expect(await seen.promise).toMatchObject({ message: "the user left" });
  });
});

describe("retry", () => {
  it("doubles its pause and stops at the last attempt", async () => {
    const clock = manualClock();
    const times: number[] = [];
    const work = retry(
      async () => {
        times.push(clock.nowMs());
        throw new Error("again");
      },
      { attempts: 4, delayMs: 100, maxDelayMs: 200, clock },
    ).catch((error: Error) => error.message);
    await clock.advance(1000);
    expect(await work).toBe("again");
    expect(times).toEqual([0, 100, 300, 500]);
  });

  it("does not try again what another attempt cannot cure", async () => {
    let attempts = 0;
    const work = retry(
      async () => {
        attempts++;
        throw new Error("refused");
      },
      { attempts: 5, delayMs: 1, isRetryable: () => false },
    );
    await expect(work).rejects.toThrow("refused");
    expect(attempts).toBe(1);
  });
});
