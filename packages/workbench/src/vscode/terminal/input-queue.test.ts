import { expect, test } from "vitest";
import { inputQueue } from "./input-queue.ts";

test("what is typed while a piece is under way follows as one piece, in order", async () => {
  const sent: string[] = [];
  const gates: (() => void)[] = [];
  const queue = inputQueue((text) => {
    sent.push(text);
    return new Promise((resolve) => gates.push(resolve));
  });
  for (const key of "ls -l") queue.push(key);
  expect(sent).toEqual(["l"]);
  gates.shift()?.();
  await Promise.resolve();
  await Promise.resolve();
  expect(sent).toEqual(["l", "s -l"]);
});
