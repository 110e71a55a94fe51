import { expect, test } from "vitest";
import { relativeTime } from "./time.ts";

const now = Date.parse("2026-11-22T12:00:00.000Z");

test.each([
  ["2026-11-22T11:59:55.000Z", "just now"],
  ["2026-11-22T12:00:05.000Z", "in a moment"],
  ["2026-11-22T11:59:20.000Z", "40 seconds ago"],
  ["2026-11-22T11:55:00.000Z", "5 minutes ago"],
  ["2026-11-22T14:30:00.000Z", "in 2 hours"],
  ["2026-11-20T12:00:00.000Z", "2 days ago"],
])("%s is %s", (at, words) => {
  expect(relativeTime(at, now)).toBe(words);
});
