import { expect, test } from "vitest";
import { parseDuration, relativeTime } from "./duration.ts";

test.each([
  ["45s", 45],
  ["90m", 5400],
  ["1h30m", 5400],
  ["2d", 172_800],
])("%s is %d seconds", (text, seconds) => {
  expect(parseDuration("--ttl", text)).toBe(seconds);
});

test.each(["", "0s", "1", "1.5h", "-1h", "1 h", "h", "1h30", "1w", "99999999999999999999s"])(
  "%j is refused by name",
  (text) => {
    expect(() => parseDuration("--ttl", text)).toThrow(
      `--ttl is ${JSON.stringify(text)}: it must be a time such as 45s, 90m, 1h30m or 2d`,
    );
  },
);

test("moments are told as people do", () => {
  const now = Date.parse("2026-01-01T12:00:00Z");
  expect(relativeTime("2026-01-01T11:59:30Z", now)).toBe("30 s ago");
  expect(relativeTime("2026-01-01T14:00:00Z", now)).toBe("in 2 h");
  expect(relativeTime("2025-12-25T12:00:00Z", now)).toBe("7 d ago");
  expect(relativeTime(null, now)).toBe("never");
});
