import { expect, test } from "vitest";
import { isBranchName } from "./branches.ts";

test("names that git takes are taken", () => {
  for (const name of ["main", "feature/login", "v1.2", "ünï", "a-b_c", "release/2026.11"]) {
    expect(isBranchName(name), name).toBe(true);
  }
});

test("names that git refuses are refused", () => {
  const names = [
    "",
    "@",
    "-x",
    "a b",
    "a..b",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[",
    "a\\b",
    "a//b",
    "/a",
    "a/",
    "a.",
    ".a",
  ];
  for (const name of [...names, "a/.b", "a.lock", "a.lock/b", "a@{b", "a\tb"]) {
    expect(isBranchName(name), name).toBe(false);
  }
});
