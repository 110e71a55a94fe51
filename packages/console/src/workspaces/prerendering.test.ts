import { expect, test } from "vitest";
import { likelyNext } from "./prerendering.ts";

const newest = { name: "newest", state: "creating" } as const;
const older = { name: "older", state: "running" } as const;
const oldest = { name: "oldest", state: "hibernated" } as const;

test("the workspace opened last is prepared, asleep or not", () => {
  expect(likelyNext([newest, older, oldest], "oldest")).toBe("oldest");
});

test("without one it is the newest that can be opened at once", () => {
  expect(likelyNext([newest, older, oldest], null)).toBe("older");
  expect(likelyNext([newest, older, oldest], "newest")).toBe("older");
  expect(likelyNext([newest], null)).toBeUndefined();
  expect(likelyNext([], "older")).toBeUndefined();
});
