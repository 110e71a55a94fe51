import { expect, test } from "vitest";
import { parseRetention } from "./retention.ts";

test("tiers are read as periods and how long one of each is kept", () => {
  expect(parseRetention("1m:1h,1h:1d")).toEqual([
    { everyMs: 60_000, forMs: 3_600_000 },
    { everyMs: 3_600_000, forMs: 86_400_000 },
  ]);
});

test.each([
  ["", "EVERY:FOR"],
  ["1h", "EVERY:FOR"],
  ["1h:1d:2d", "EVERY:FOR"],
  ["1h:1d,", "EVERY:FOR"],
  ["soon:1d", 'EVERY of --keep is "soon"'],
  ["1h:0s", 'FOR of --keep is "0s"'],
  ["1d:1h", "in 1d:1h, FOR is shorter than EVERY"],
])("%j is refused with what would be right", (text, message) => {
  expect(() => parseRetention(text)).toThrow(message);
});
