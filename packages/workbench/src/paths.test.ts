import { expect, test } from "vitest";
import { toEditorPath, toGuestPath } from "./paths.ts";

test("a name with bytes that are not UTF-8 survives the way into a URI and back", () => {
  const guestPath = "/workspace/caf\udce9/\udcff.txt";
  const editorPath = toEditorPath(guestPath);
  expect(editorPath.isWellFormed()).toBe(true);
  expect(toGuestPath(decodeURIComponent(encodeURIComponent(editorPath)))).toBe(guestPath);
});

test("an ordinary name stays as it is", () => {
  for (const path of ["/workspace/a b.txt", "/ünï/🐭.md"]) {
    expect(toEditorPath(path)).toBe(path);
    expect(toGuestPath(path)).toBe(path);
  }
});
