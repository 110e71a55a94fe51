import { expect, test } from "vitest";
import { hoursOfDay } from "./egress-hours.ts";

test("a day has 24 hours up to this one, and what is older is left out", () => {
  const at = (hour: number) => new Date(hour * 3_600_000).toISOString();
  const hours = [
    { at: at(100), count: 7 },
    { at: at(101), count: 1 },
    { at: at(124), count: 3 },
  ];
  const day = hoursOfDay(hours, 124.5 * 3_600_000);
  expect(day).toHaveLength(24);
  expect(day[0]).toEqual({ at: at(101), count: 1 });
  expect(day[23]).toEqual({ at: at(124), count: 3 });
  expect(day.reduce((sum, { count }) => sum + count, 0)).toBe(4);
});
