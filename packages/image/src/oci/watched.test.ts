import { expect, test } from "vitest";
import { watched } from "./watched.ts";

const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));

test("the result of the work, however often it was looked at", async () => {
  let checks = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  const check = async () => {
    if (++checks === 3) resolve("done");
  };
  expect(await watched({ intervalMs: 1, check }, () => promise)).toBe("done");
});

test("what the check throws ends the work, and is the error", async () => {
  const check = () => Promise.reject(new Error("too large"));
  await expect(watched({ intervalMs: 1, check }, untilAborted)).rejects.toThrow("too large");
});

test("the caller's signal ends the work with the work's own error", async () => {
  const stop = new AbortController();
  const working = watched({ intervalMs: 60_000, check: async () => {}, signal: stop.signal }, untilAborted);
  stop.abort();
  await expect(working).rejects.toThrow("stopped");
});
