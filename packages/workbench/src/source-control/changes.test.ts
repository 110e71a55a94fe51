import type { GitFile } from "@dormouse/contract";
import { expect, test } from "vitest";
import { changesOf } from "./changes.ts";

const file = (path: string, letters: string, more: Partial<GitFile> = {}): GitFile => ({
  path,
  index: letters[0] as GitFile["index"],
  worktree: letters[1] as GitFile["worktree"],
  conflicted: false,
  ...more,
});

test("a file changed in the index and again after stands in both groups", () => {
  const groups = changesOf({ files: [file("b", "MM"), file("a", "A."), file("c", ".D")] });
  expect(groups.index.map(({ path, kind }) => [path, kind])).toEqual([
    ["a", "indexAdded"],
    ["b", "indexModified"],
  ]);
  expect(groups.workingTree.map(({ path, kind }) => [path, kind])).toEqual([
    ["b", "modified"],
    ["c", "deleted"],
  ]);
});

test("conflicts stand alone among the merge changes, untracked files among their own", () => {
  const groups = changesOf({ files: [file("x", "UU", { conflicted: true }), file("new", "??")] });
  expect(groups.merge.map(({ path }) => path)).toEqual(["x"]);
  expect(groups.untracked.map(({ path }) => path)).toEqual(["new"]);
  expect([...groups.index, ...groups.workingTree]).toEqual([]);
});

test("a rename keeps where the file lay before", () => {
  const groups = changesOf({ files: [file("new.ts", "R.", { originalPath: "old.ts" })] });
  expect(groups.index[0]).toMatchObject({ kind: "indexRenamed", originalPath: "old.ts" });
});

test("ignored and unchanged files have no row", () => {
  const groups = changesOf({ files: [file("a", ".."), file("b", "!!")] });
  expect(Object.values(groups).flat()).toEqual([]);
});
