import { isId } from "@dormouse/base";
import { expect, test } from "vitest";
import { random } from "../testing/random.ts";
import { createSnapshotId, parseSnapshotId } from "./snapshot-id.ts";

test("ids sort by generation, then by time, and say both", () => {
  const next = random(1);
  const facts = Array.from({ length: 500 }, () => ({
    generation: Math.floor(next() ** 4 * (32 ** 5 - 1)),
    createdMs: Math.floor(next() ** 4 * (32 ** 9 - 1)),
  }));
  const ids = facts.map(({ generation, createdMs }) => createSnapshotId(generation, createdMs));
  for (const [index, id] of ids.entries()) {
    expect(isId("snapshot", id)).toBe(true);
    expect(parseSnapshotId(id)).toEqual(facts[index]);
  }
  const byFacts = [...facts].sort((a, b) => a.generation - b.generation || a.createdMs - b.createdMs);
  expect([...ids].sort().map(parseSnapshotId)).toEqual(byFacts);
});

test("two of one moment differ", () => {
  expect(new Set(Array.from({ length: 1000 }, () => createSnapshotId(1, 1))).size).toBe(1000);
});

test("what does not fit is refused, and what is no such id is none", () => {
  expect(() => createSnapshotId(-1, 0)).toThrow("generation -1 must be a whole number from 0 to 33554431");
  expect(() => createSnapshotId(32 ** 5, 0)).toThrow("generation 33554432");
  expect(() => createSnapshotId(0, 1.5)).toThrow("createdMs 1.5");
  expect(() => createSnapshotId(0, 32 ** 9)).toThrow("must be a time in milliseconds");
  for (const text of [
    "",
    "snapshot-",
    "snapshot-0000000000000000000",
    "other-00000000000000000000",
    "snapshot-0000000000000000000l",
  ]) {
    expect(parseSnapshotId(text)).toBeUndefined();
  }
});
