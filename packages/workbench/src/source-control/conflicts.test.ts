import { describe, expect, it } from "vitest";
import { findConflicts, resolveConflict } from "./conflicts.ts";

const file = `before
<<<<<<< HEAD
ours
||||||| merged common ancestors
base
=======
theirs
=======
>>>>>>> feature
between
<<<<<<< HEAD
=======
only theirs
>>>>>>> feature
<<<<<<< never ended
=======`.split("\n");

describe("conflicts", () => {
  it("are found with both sides' names, also with what both had", () => {
    const conflicts = findConflicts(file);
    expect(conflicts).toEqual([
      { start: 1, currentName: "HEAD", base: 3, middle: 5, end: 8, incomingName: "feature" },
      { start: 10, currentName: "HEAD", base: undefined, middle: 11, end: 13, incomingName: "feature" },
    ]);
  });

  it("become one side, the other, or both", () => {
    const [first, second] = findConflicts(file);
    if (!first || !second) throw new Error("two conflicts are there");
    expect(resolveConflict(file, first, "current")).toEqual(["ours"]);
    expect(resolveConflict(file, first, "incoming")).toEqual(["theirs", "======="]);
    expect(resolveConflict(file, first, "both")).toEqual(["ours", "theirs", "======="]);
    expect(resolveConflict(file, second, "current")).toEqual([]);
  });

  it("with other line ends are found too", () => {
    expect(findConflicts("<<<<<<< a\r\nx\r\n=======\r\ny\r\n>>>>>>> b\r".split("\n"))).toMatchObject([
      { currentName: "a", incomingName: "b", middle: 2 },
    ]);
  });
});
