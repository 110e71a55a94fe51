import { expect, test } from "vitest";
import { createByteQueue } from "./byte-queue.ts";

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("a producer waits while too much is queued, and goes on when some of it is taken", async () => {
  const queue = createByteQueue(10);
  await queue.push(Buffer.alloc(6));
  let isPushed = false;
  const pushing = queue.push(Buffer.alloc(6)).then(() => {
    isPushed = true;
  });
  await settle();
  expect(isPushed).toBe(false);
  const consumer = queue[Symbol.asyncIterator]();
  expect((await consumer.next()).value).toHaveLength(6);
  await pushing;
  queue.end();
  expect((await consumer.next()).value).toHaveLength(6);
  expect((await consumer.next()).done).toBe(true);
});

test("a failure reaches who waits on either side, and who comes later", async () => {
  const full = createByteQueue(1);
  const pushing = full.push(Buffer.alloc(5));
  full.fail(new Error("the store is gone"));
  await expect(pushing).rejects.toThrow("the store is gone");
  await expect(full.push(Buffer.alloc(1))).rejects.toThrow("the store is gone");
  const empty = createByteQueue(1);
  const reading = empty[Symbol.asyncIterator]().next();
  await settle();
  empty.fail(new Error("given up"));
  await expect(reading).rejects.toThrow("given up");
});
