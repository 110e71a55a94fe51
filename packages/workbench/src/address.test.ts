import { expect, test } from "vitest";
import { parseAddress } from "./address.ts";

const parse = (address: string) => parseAddress(new URL(address, "http://dormouse.test"));

test("an address names the workspace, and a file with its place", () => {
  expect(parse("/w/calm-otter")).toEqual({ workspace: "calm-otter", file: undefined });
  expect(parse("/w/calm-otter/?file=/a/b.ts:12:3")?.file).toEqual({ path: "/a/b.ts", line: 12, column: 3 });
  expect(parse("/w/calm-otter#file=/a/b.ts")?.file).toEqual({ path: "/a/b.ts", line: 1, column: 1 });
});

test("what is no workspace or no absolute path is left out", () => {
  expect(parse("/signin")).toBeUndefined();
  expect(parse("/w/calm-otter?file=b.ts")?.file).toBeUndefined();
});
