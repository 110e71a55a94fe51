import { describe, expect, it } from "vitest";
import { applyChanges, type LineChange, linesOf, reversed, selectChanges } from "./line-changes.ts";

const change = (original: [number, number], modified: [number, number]): LineChange => ({
  original: { start: original[0], end: original[1] },
  modified: { start: modified[0], end: modified[1] },
});
const lines = (start: number, end: number) => [{ start, end }];

describe("selected lines", () => {
  const original = linesOf("a\nb\nc\nd\ne");
  // b is changed, c and d have become one, and f is new.
  const modified = linesOf("a\nB\nX\ne\nf\ng");
  const changes = [change([1, 2], [1, 2]), change([2, 4], [2, 3]), change([5, 5], [4, 6])];

  it("take the changes that they touch, and nothing else", () => {
    const staged = (start: number, end: number) =>
      applyChanges(original, modified, selectChanges(changes, lines(start, end))).join("");
    expect(staged(0, 1)).toBe("abcde");
    expect(staged(1, 2)).toBe("aBcde");
    expect(staged(2, 3)).toBe("abXe");
    expect(staged(4, 5)).toBe("abcdef");
    expect(staged(0, 6)).toBe("aBXefg");
  });

  it("take single lines of as many changed ones", () => {
    const before = linesOf("a\nb\nc\nd");
    const after = linesOf("a\nB\nC\nd");
    const picked = selectChanges([change([1, 3], [1, 3])], lines(2, 3));
    expect(applyChanges(before, after, picked).join("")).toBe("abCd");
    expect(applyChanges(after, before, reversed(picked)).join("")).toBe("aBcd");
  });

  it("take what was removed from either line beside it", () => {
    const removed = [change([1, 2], [1, 1])];
    expect(selectChanges(removed, lines(0, 1))).toEqual(removed);
    expect(selectChanges(removed, lines(1, 2))).toEqual(removed);
    expect(selectChanges(removed, lines(2, 3))).toEqual([]);
  });

  it("of several selections take each change once", () => {
    const replaced = [change([0, 3], [0, 2])];
    expect(selectChanges(replaced, [...lines(0, 2), ...lines(0, 2)])).toEqual(replaced);
  });
});
