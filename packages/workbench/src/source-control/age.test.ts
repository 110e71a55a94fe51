import { expect, it } from "vitest";
import { ageOf } from "./age.ts";

it("tells an age in its largest unit", () => {
  const day = 86_400_000;
  const ages = [0, 59_000, 60_000, 3 * 3_600_000, day, 13 * day, 45 * day, 800 * day].map((age) => ageOf(0, age));
  expect(ages).toEqual([
    "just now",
    "just now",
    "1 minute ago",
    "3 hours ago",
    "1 day ago",
    "1 week ago",
    "1 month ago",
    "2 years ago",
  ]);
  expect(ageOf(1000, 0), "a clock that runs ahead").toBe("just now");
});
