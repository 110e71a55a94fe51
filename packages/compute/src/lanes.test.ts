import { expect, test } from "vitest";
import { createLanes } from "./lanes.ts";

const capacity = { cores: 2, vcpusPerCore: 2, memoryMib: 5000, overheadMib: 256 };
const small = { vcpus: 1, memoryMib: 1024 };

test("memory is never overcommitted, the VMM's own included", () => {
  const lanes = createLanes(capacity);
  lanes.reserve(small);
  lanes.reserve(small);
  const third = lanes.reserve(small);
  expect(() => lanes.reserve(small)).toThrow(
    "a machine asks for 1 vCPU and 1280 MiB of memory (overhead included); free on this host: 1 of 4 vCPU, 1160 of 5000 MiB",
  );
  third.release();
  third.release();
  expect(lanes.facts()).toEqual({ vcpus: { total: 4, free: 2 }, memoryMib: { total: 5000, free: 2440 } });
});

test("memory is promised more than once only when that is asked for", () => {
  const lanes = createLanes({ ...capacity, memoryOvercommit: 1.5 });
  expect(lanes.facts().memoryMib).toEqual({ total: 7500, free: 7500 });
});

test("the refusal carries what was asked and what is free", () => {
  const lanes = createLanes({ ...capacity, memoryMib: 100_000 });
  lanes.reserve({ vcpus: 3, memoryMib: 1024 });
  expect(() => lanes.reserve({ vcpus: 2, memoryMib: 2048 })).toThrow(
    expect.objectContaining({
      code: "resource_exhausted",
      details: {
        asked: { vcpus: 2, memoryMib: 2304 },
        free: { vcpus: 1, memoryMib: 98_720 },
        total: { vcpus: 4, memoryMib: 100_000 },
      },
    }),
  );
});

test("a paused machine keeps its memory and lends its vCPUs", () => {
  const lanes = createLanes({ ...capacity, cores: 1, vcpusPerCore: 1, memoryMib: 100_000 });
  const pooled = lanes.reserve(small, { paused: true });
  const busy = lanes.reserve(small);
  expect(() => pooled.run()).toThrow("a machine asks for 1 vCPU; free on this host: 0 of 1 vCPU");
  expect(pooled.isRunning).toBe(false);
  busy.pause();
  pooled.run();
  expect(lanes.facts().vcpus.free).toBe(0);
  pooled.run();
  pooled.release();
  pooled.pause();
  busy.release();
  expect(lanes.facts()).toEqual({ vcpus: { total: 1, free: 1 }, memoryMib: { total: 100_000, free: 100_000 } });
});

test("a machine has at least one vCPU and one GiB", () => {
  const lanes = createLanes(capacity);
  expect(() => lanes.reserve({ vcpus: 0, memoryMib: 1024 })).toThrow("vcpus is 0; a machine has a whole number from 1");
  expect(() => lanes.reserve({ vcpus: 1, memoryMib: 1023 })).toThrow("memoryMib is 1023; a machine has at least 1024");
});
