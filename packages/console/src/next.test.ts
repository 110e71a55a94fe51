import { expect, test } from "vitest";
import { nextOf } from "./next.ts";

const next = (value: string) => nextOf(new URL(`/signin?next=${encodeURIComponent(value)}`, "http://dormouse.test"));

test("a path of this origin is taken as it is", () => {
  expect(next("/w/calm-otter?file=/a.ts:3")).toBe("/w/calm-otter?file=/a.ts:3");
  expect(nextOf(new URL("http://dormouse.test/signin"))).toBe("/");
});

test("another origin, in whatever disguise, is not", () => {
  for (const value of [
    "https://evil.test/",
    "//evil.test/x",
    "/\\evil.test",
    "/\t/evil.test",
    "javascript:alert(1)",
    "w",
  ]) {
    expect(next(value), value).toBe("/");
  }
});
