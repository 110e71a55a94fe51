import { expect, test } from "vitest";
import { findRuns } from "./guest-memory.ts";

test("the pagemap's bits: present or swapped, and not shared with the file", () => {
  const [present, swapped, file] = [1 << 31, 1 << 30, 1 << 29];
  const high = [present, present | file, swapped, swapped, 0, file, present];
  const halves = new Uint32Array(high.flatMap((bits) => [0xffffffff, bits]));
  expect(findRuns(halves)).toEqual([
    { firstPage: 0, pageCount: 1 },
    { firstPage: 2, pageCount: 2 },
    { firstPage: 6, pageCount: 1 },
  ]);
});
