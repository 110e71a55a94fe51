import { expect, it } from "vitest";
import { KeyedLock } from "./keyed-lock.ts";

it("keeps tasks of one key in order, also past a failure, and lets other keys pass", async () => {
  const lock = new KeyedLock();
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = lock.run("a", async () => {
    await gate.promise;
    order.push("a1");
    throw new Error("a1 failed");
  });
  const second = lock.run("a", async () => void order.push("a2"));
  await lock.run("b", async () => void order.push("b"));
  gate.resolve();
  await expect(first).rejects.toThrow("a1 failed");
  await second;
  expect(order).toEqual(["b", "a1", "a2"]);
});
