import { expect, test } from "vitest";
import { createEscapeFilter } from "./escape.ts";

function type(...pieces: string[]): { text: string; isEnd: boolean } {
  const filter = createEscapeFilter();
  let text = "";
  for (const piece of pieces) {
    const passed = filter(piece);
    text += passed.text;
    if (passed.isEnd) return { text, isEnd: true };
  }
  return { text, isEnd: false };
}

test("~. ends at the beginning of a line, also typed apart", () => {
  expect(type("~.")).toEqual({ text: "", isEnd: true });
  expect(type("ls\r", "~", ".", "never")).toEqual({ text: "ls\r", isEnd: true });
  expect(type("half a line\x03~.")).toEqual({ text: "half a line\x03", isEnd: true });
});

test("elsewhere, and doubled, a tilde is a tilde", () => {
  expect(type("cd ~.ssh\r")).toEqual({ text: "cd ~.ssh\r", isEnd: false });
  expect(type("~~.\r")).toEqual({ text: "~.\r", isEnd: false });
  expect(type("~/bin/x\r~\r~.")).toEqual({ text: "~/bin/x\r~\r", isEnd: true });
});
