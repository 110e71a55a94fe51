import { join } from "node:path";
import { Workspace } from "@dormouse/sdk";
import { expect } from "vitest";
import { eventually } from "./eventually.ts";
import { readKernelState } from "./kernel-state.ts";
import type { TestPlatform } from "./platform.ts";

/** Creates and deletes so many workspaces; everything that the platform holds of the system must be as before then. */
export async function expectNoLeaks(platform: TestPlatform, cycles: number): Promise<void> {
  const { connection } = platform;
  const { host, control, gateway } = platform.platform.services;
  const pids = [host.pid, control.pid, gateway.pid].filter((pid) => pid !== undefined);
  const look = () => readKernelState({ namePrefix: "dmtest", dataDir: join(platform.dataDir, "data"), pids });
  const settled = async () => {
    await eventually("the pool and the slots are full again", async () => {
      const { pool, slots } = await connection.api.hosts.capacity({});
      return pool.ready === pool.size && (await look()).namespaces.length >= 8 && slots.free > 0;
    });
    return await look();
  };
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
  // Indexes and ids are new ones; how many there are is what counts.
  const counts = ({ descriptors: _, ...state }: typeof before) =>
    Object.fromEntries(
      Object.entries(state).map(([name, value]) => [name, Array.isArray(value) ? value.length : value]),
    );
  expect(counts(after)).toEqual(counts(before));
  expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 20);
}
