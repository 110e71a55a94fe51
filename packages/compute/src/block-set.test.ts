import { expect, test } from "vitest";
import { BlockSet } from "./block-set.ts";

test("a set of blocks keeps numbers, unites, and goes through text", () => {
  const set = new BlockSet(20);
  for (const block of [0, 7, 8, 19]) set.add(block);
  expect(set.toHex()).toBe("810108");
  expect([...BlockSet.fromHex(20, set.toHex()).toArray()]).toEqual([0, 7, 8, 19]);
  const other = new BlockSet(20);
  other.add(3);
  other.addAll(set);
  expect([...other.toArray()]).toEqual([0, 3, 7, 8, 19]);
  expect(other.has(3)).toBe(true);
  expect(other.has(4)).toBe(false);
});

test("text that is no list of so many blocks is refused", () => {
  for (const digits of ["", "0000", "00000000", "0000zz", "8101 8"]) {
    expect(() => BlockSet.fromHex(20, digits)).toThrow("a list of 20 blocks has");
  }
  expect(() => BlockSet.fromHex(20, "000010")).toThrow("a list of 20 blocks names block 20");
});
