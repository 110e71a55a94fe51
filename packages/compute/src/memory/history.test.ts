import { expect, test } from "vitest";
import { BlockSet } from "../block-set.ts";
import type { CopiedMemory } from "./copier.ts";
import { CopyHistory } from "./history.ts";

function setOf(...blocks: number[]): BlockSet {
  const set = new BlockSet(100);
  for (const block of blocks) set.add(block);
  return set;
}

function copyOf(blocks: number[], unmarked: number[] = blocks): CopiedMemory {
  return { blocks: setOf(...blocks), unmarked: setOf(...unmarked), isComplete: false, copiedBytes: 0 };
}

const listed = (set: BlockSet | undefined) => set && [...set.toArray()];

test("the first copy is complete, and counts until it is confirmed", () => {
  const history = new CopyHistory();
  expect(history.begin(false)).toEqual({ isComplete: true, isAllNew: true });
  history.taken(1, copyOf([1, 2]), true);
  expect(history.holdsComplete).toBe(true);
  expect(listed(history.begin(false).also)).toEqual([1, 2]);
  history.taken(2, copyOf([1, 2, 3], [3]), false);
  history.confirmed(2);
  expect(history.holdsComplete).toBe(false);
  expect(history.begin(false)).toEqual({ isComplete: false, isAllNew: false });
});

test("a copy that failed makes the next one complete", () => {
  const history = new CopyHistory();
  history.begin(false);
  history.taken(1, copyOf([1]), true);
  history.confirmed(1);
  history.begin(false);
  expect(history.begin(false)).toEqual({ isComplete: true, isAllNew: true });
});

test("what several hold is due until the newest of them is confirmed, or each", () => {
  const history = new CopyHistory();
  history.begin(false);
  history.taken(1, copyOf([]), true);
  history.confirmed(1);
  for (const number of [2, 3]) {
    history.begin(false);
    history.taken(number, copyOf([number * 10]), false);
  }
  history.confirmed(2);
  expect(listed(history.begin(false).also)).toEqual([30]);
  history.taken(4, copyOf([30, 40]), false);
  history.confirmed(4);
  history.confirmed(3);
  expect(history.begin(false).also).toBeUndefined();
});

test("of a fork's complete copy only what carried a mark is due again", () => {
  const history = new CopyHistory();
  history.begin(false);
  history.taken(1, copyOf([1, 2, 3]), true);
  history.confirmed(1);
  const { isAllNew, ...request } = history.begin(true);
  expect(request).toEqual({ isComplete: true });
  history.taken(2, copyOf([1, 2, 3, 4], [4]), isAllNew);
  const next = history.begin(false);
  expect(next.isComplete).toBe(false);
  expect(listed(next.also)).toEqual([4]);
  expect(history.holdsComplete).toBe(false);
});
