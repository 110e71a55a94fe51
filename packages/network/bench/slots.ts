// Prints what slots cost on this machine as JSON: node packages/network/bench/slots.ts [COUNT]. Needs root.
import { createLogger, DormouseError, sleep } from "@dormouse/base";
import { createSlotPool } from "../src/index.ts";

const count = Number(process.argv[2] ?? 1_000);
const pollMs = 5;

/** Fills a pool, empties it, gives all back; milliseconds for each slot. */
async function measure(slots: number) {
  const logger = createLogger({ write: (line) => process.stderr.write(`${line}\n`) });
  const startedMs = performance.now();
  const pool = await createSlotPool({ namePrefix: "dmbench", uidBase: 760_000, size: slots, max: slots, logger });
  try {
    while (pool.counts().prepared < slots) await sleep(pollMs);
    const preparedMs = performance.now();
    const taken = [];
    for (let index = 0; index < slots; index++) taken.push(await pool.allocate());
    const allocatedMs = performance.now();
    // Nothing is prepared any more: this one waits for a release and a fresh slot.
    const [first, ...rest] = taken;
    if (!first) throw new DormouseError("invalid_argument", `COUNT is ${slots}; it must be at least 1`);
    void pool.release(first);
    taken.push(await pool.allocate());
    const renewedMs = performance.now();
    await Promise.all(rest.map((slot) => pool.release(slot)));
    const releasedMs = performance.now();
    return {
      slots,
      prepareMsPerSlot: (preparedMs - startedMs) / slots,
      allocateMsPerSlot: (allocatedMs - preparedMs) / slots,
      renewMs: renewedMs - allocatedMs,
      releaseMsPerSlot: (releasedMs - renewedMs) / Math.max(1, rest.length),
    };
  } finally {
    await pool.close();
  }
}

const few = await measure(10);
const many = await measure(count);
console.log(
  JSON.stringify(
    {
      few,
      many,
      ratios: {
        allocateManyToFew: many.allocateMsPerSlot / few.allocateMsPerSlot,
        prepareManyToFew: many.prepareMsPerSlot / few.prepareMsPerSlot,
        prepareToAllocate: many.prepareMsPerSlot / many.allocateMsPerSlot,
      },
    },
    (_, value) => (typeof value === "number" ? Number(value.toPrecision(3)) : value),
    2,
  ),
);
