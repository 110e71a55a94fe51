import { performance } from "node:perf_hooks";
import type { SnapshotRef } from "@dormouse/contract";
import { type HostsInProcess, hostsInProcess, machineDefaults } from "../packages/host/src/testing/host-in-process.ts";
import { nearby } from "../packages/host/src/testing/slow-store.ts";
import { figures, median, ratio } from "./figures.ts";

const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 5);
/** What the machine has written when it is kept. */
const workloadMib = 250;
const mib = 1024 * 1024;
/** The store as a folder of this host, and as an object store in the same region has it. */
const stores = {
  nearby: { latencyMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY },
  distant: { latencyMs: 20, bytesPerSecond: 100 * mib },
};

process.stdout.write(`${JSON.stringify(await measureWakes(), null, 2)}\n`);
process.exit();

/**
 * Wakes of a machine of 1 GiB that has written 250 MB, from a store, by a host that has nothing of it: with all of its
 * memory and drive fetched before it starts, and with what it touches fetched first.
 */
async function measureWakes() {
  const note = (text: string) => process.stderr.write(`${text}\n`);
  await using hosts = await hostsInProcess("dmbwake");
  note(`writing ${workloadMib} MB …`);
  const snapshot = await makeSnapshot(hosts);
  const measured: Record<string, Awaited<ReturnType<typeof wakes>>> = {};
  for (const [store, distance] of Object.entries(stores)) {
    for (const waitsForWhole of [true, false]) {
      const name = `${store}, ${waitsForWhole ? "whole first" : "touched first"}`;
      note(`${rounds} wakes, ${name} …`);
      measured[name] = await wakes(hosts, snapshot, { ...distance, waitsForWhole });
      note(`  first exec after ${measured[name].toFirstExec.p50Ms} ms`);
    }
  }
  const p50Of = (name: string) => measured[name]?.toFirstExec.p50Ms ?? Number.NaN;
  return {
    ...measured,
    ratios: Object.fromEntries(
      Object.keys(stores).map((store) => [
        `${store}, to first exec`,
        ratio(p50Of(`${store}, touched first`), p50Of(`${store}, whole first`)),
      ]),
    ),
  };
}

async function makeSnapshot(hosts: HostsInProcess): Promise<SnapshotRef> {
  const host = await hosts.open();
  const workspaceId = "ws-bench";
  await host.service.lifecycle.create({ ...machineDefaults, workspaceId, generation: 1 });
  // Half of it is noise, as in the memory of a busy machine.
  const script = `import os; open("/dev/shm/data", "wb").writelines(os.urandom(2048) + bytes(2048) for _ in range(${workloadMib * 256}))`;
  const { exitCode, stderr } = await host.service.run(workspaceId, { command: ["python3", "-c", script] });
  if (exitCode !== 0) throw new Error(`the workload failed: ${stderr}`);
  // The list of what is needed first is that of a life like the one to come: begun from a snapshot, and short.
  const first = await host.service.snapshots.take({ workspaceId, generation: 1, reason: "manual" });
  await host.service.lifecycle.wake({ workspaceId, generation: 1, env: {}, snapshotId: first.id });
  await host.service.run(workspaceId, { command: "sleep 4" });
  const { id } = await host.service.snapshots.take({ workspaceId, generation: 1, reason: "manual" });
  await host.service.lifecycle.delete({ workspaceId, generation: 1, keepSnapshots: true });
  await host.stop({ hibernate: false });
  return { workspaceId, id };
}

async function wakes(
  hosts: HostsInProcess,
  snapshot: SnapshotRef,
  options: { latencyMs: number; bytesPerSecond: number; waitsForWhole: boolean },
) {
  const { waitsForWhole, ...distance } = options;
  const times = { awake: [] as number[], firstExec: [] as number[], whole: [] as number[] };
  const fetchedMib: number[] = [];
  for (let round = 0; round < rounds; round++) {
    // Another one each time, which has nothing from the time before.
    const host = await hosts.open({ waitsForWhole });
    Object.assign(hosts.distance, nearby(), distance);
    const workspaceId = `ws-wake-${round}`;
    const beganMs = performance.now();
    await host.service.lifecycle.create({ ...machineDefaults, workspaceId, generation: 1, snapshot });
    times.awake.push(performance.now() - beganMs);
    await host.service.run(workspaceId, { command: "true" });
    times.firstExec.push(performance.now() - beganMs);
    fetchedMib.push(hosts.distance.bytes / mib);
    await host.service.whole(workspaceId);
    times.whole.push(performance.now() - beganMs);
    Object.assign(hosts.distance, nearby());
    await host.service.lifecycle.delete({ workspaceId, generation: 1, keepSnapshots: false });
    await host.stop({ hibernate: false });
  }
  return {
    toAwake: figures(times.awake),
    toFirstExec: figures(times.firstExec),
    toWhole: figures(times.whole),
    fetchedMibAtFirstExec: Math.round(median(fetchedMib)),
  };
}
