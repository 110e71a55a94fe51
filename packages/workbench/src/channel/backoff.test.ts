import { expect, test } from "vitest";
import { backoffMs } from "./backoff.ts";

test("pauses double up to a limit and are spread downwards only", () => {
  const longest = [1, 2, 3, 4, 5, 6, 20].map((attempt) => backoffMs(attempt, () => 1));
  expect(longest).toEqual([200, 400, 800, 1600, 3200, 5000, 5000]);
  expect(backoffMs(20, () => 0)).toBe(3750);
});
