import { join } from "node:path";
import { sleep } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import { expect } from "vitest";
import { eventually } from "./eventually.ts";
import { type KernelState, readKernelState } from "./kernel-state.ts";
import type { TestPlatform } from "./platform.ts";

/** Creates and deletes so many workspaces; everything that the platform holds of the system must be as before then. */
export async function expectNoLeaks(platform: TestPlatform, cycles: number): Promise<void> {
  const { connection } = platform;
  const { host, control, gateway } = platform.platform.services;
  const pids = [host.pid, control.pid, gateway.pid].filter((pid) => pid !== undefined);
  const look = () => readKernelState({ namePrefix: "dmtest", dataDir: join(platform.dataDir, "data"), pids });
  // What is kept ahead, machines, their VMMs and slots, is filled when nothing has changed for longer than its pauses.
  const settled = () =>
    eventually(
      "all that is kept ahead is there",
      async () => {
        const before = await look();
        await sleep(2_500);
        const { pool } = await connection.api.hosts.capacity({});
        const state = await look();
        return pool.ready === pool.size && JSON.stringify(counts(before)) === JSON.stringify(counts(state)) && state;
      },
      120_000,
    );
  const cycle = async () => {
    const workspace = await Workspace.create({ connection });
    await workspace.kill();
  };
  // What is made once and kept, such as connections of clients, is not a leak.
  for (let warmUp = 0; warmUp < 3; warmUp++) await cycle();
  const before = await settled();
  for (let round = 0; round < cycles; round++) await cycle();
  const after = await eventually("the numbers are as before", async () => {
    const state = await settled();
    const isEqual = state.namespaces.length === before.namespaces.length && state.links.length === before.links.length;
    return isEqual && state;
  });
  expect(counts(after)).toEqual(counts(before));
  expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 20);
}

/** Indexes and ids are new ones each time; how many there are is what counts. */
function counts({ descriptors: _, ...state }: KernelState): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(state).map(([name, value]) => [name, Array.isArray(value) ? value.length : value]),
  );
}
