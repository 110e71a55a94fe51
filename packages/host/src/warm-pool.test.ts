import { createLogger } from "@dormouse/base";
import { expect, it, vi } from "vitest";
import { WarmPool } from "./warm-pool.ts";

function pool(size: number, make: () => Promise<number>) {
  const discarded: number[] = [];
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line) });
  const options = { size, refillDelayMs: 0, make, discard: async (item: number) => void discarded.push(item), log };
  return { pool: new WarmPool(options), discarded, lines };
}

it("fills to its size, hands out the oldest, fills again", async () => {
  let made = 0;
  const { pool: warm, discarded } = pool(2, async () => ++made);
  warm.refill();
  await warm.settled();
  expect(warm.ready).toBe(2);
  expect(warm.take()).toBe(1);
  await vi.waitUntil(() => warm.ready === 2);
  expect(made).toBe(3);
  await warm.close();
  expect(discarded).toEqual([2, 3]);
  expect(warm.take()).toBeUndefined();
});

it("makes one at a time, however often it is asked", async () => {
  let running = 0;
  let most = 0;
  const { pool: warm } = pool(3, async () => {
    running++;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return 1;
  });
  for (let ask = 0; ask < 5; ask++) warm.refill();
  await warm.settled();
  expect(warm.ready).toBe(3);
  expect(most).toBe(1);
  await warm.close();
});

it("of size 0 makes nothing", async () => {
  const { pool: warm } = pool(0, async () => {
    throw new Error("must not be called");
  });
  warm.refill();
  await warm.settled();
  expect(warm.take()).toBeUndefined();
});

it("says why it could not be refilled and does not spin", async () => {
  let attempts = 0;
  const { pool: warm, lines } = pool(1, async () => {
    attempts++;
    throw new Error("no memory left");
  });
  warm.refill();
  await warm.settled();
  warm.refill();
  expect(attempts).toBe(1);
  expect(lines.join()).toContain("no memory left");
  await warm.close();
});
