import { expect, test } from "vitest";
import { createOutbox, type Outbox } from "./outbox.ts";

const make = (maxCharacters = 100) =>
  createOutbox<string>({ maxCharacters, charactersOf: (text) => text.length, lost: "it fell behind" });
const fill = (outbox: Outbox<string>, count: number) => {
  for (let n = 0; n < count; n++) outbox.push((index) => `item ${index}`);
};
const take = async (outbox: Outbox<string>, after: number, count: number) => {
  const items: (string | undefined)[] = [];
  for await (const { item } of outbox.follow(after)) if (items.push(item) > count) break;
  return items.slice(1);
};

test("what was passed on and did not arrive is passed on again", async () => {
  const outbox = make();
  fill(outbox, 5);
  expect(await take(outbox, 0, 4)).toEqual(["item 1", "item 2", "item 3", "item 4"]);
  expect(await take(outbox, 2, 3)).toEqual(["item 3", "item 4", "item 5"]);
  // Until 2 it had arrived.
  await expect(take(outbox, 1, 1)).rejects.toMatchObject({ code: "not_found", message: "it fell behind" });
});

test("a reader that takes nothing loses it, one that takes all does not", async () => {
  const slow = make(20);
  fill(slow, 4);
  await expect(take(slow, 0, 1)).rejects.toMatchObject({ code: "not_found" });
  const fast = make(20);
  for (let index = 0; index < 10; index++) {
    fill(fast, 1);
    expect(await take(fast, index, 1)).toEqual([`item ${index + 1}`]);
  }
});

test("what is in it at the end can still be taken", async () => {
  const outbox = make();
  fill(outbox, 2);
  outbox.end();
  fill(outbox, 1);
  expect(await take(outbox, 0, 10)).toEqual(["item 1", "item 2"]);
});
