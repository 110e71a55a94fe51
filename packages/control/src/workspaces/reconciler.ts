import { type Clock, formatDuration, type Logger, sleep, systemClock } from "@dormouse/base";
import type { MachineInfo } from "@dormouse/contract";
import type { BuildStore } from "../definitions/build-store.ts";
import type { BuilderMachines } from "../definitions/builder-machines.ts";
import { type HostConnection, remote } from "../host/client.ts";
import { type Engine, wentBackReason } from "./engine.ts";
import type { Meter } from "./meter.ts";
import type { Sightings } from "./sightings.ts";
import type { Overseen, WorkspaceStore } from "./store.ts";
import type { WorkspaceRow } from "./view.ts";

/** Keeps what is in line with what should be. */
export interface Reconciler {
  /** One whole comparison: overdue workspaces, unfinished ones, machines against rows. */
  sweep(): Promise<void>;
  /** Ends the loops and waits for them. */
  stop(): Promise<void>;
}

const watchRetryMs = 1_000;
const meterMs = 60_000;
/** A machine that dies again so soon after it went back to a snapshot would do so for ever. */
const crashLoopMs = 30_000;

/**
 * Compares every few seconds, and whenever the host says that a machine changed:
 * - workspaces past their time to live, or asleep for longer than they may be, are deleted,
 * - what is under way and driven by nobody (control was killed) is driven on,
 * - a workspace that was idle for as long as it is meant to be is put to sleep,
 * - a workspace whose machine died goes back to its newest snapshot; without one, or when it dies again at once, and
 *   when its machine vanished, it becomes `failed` with the reason,
 * - a workspace that its host put to sleep becomes `hibernated`,
 * - what is used is written down every minute,
 * - a failed workspace whose machine turns out to run is `running` again,
 * - machines of no workspace are deleted, unless `keepUnknownMachines`.
 */
export function startReconciler(options: {
  store: WorkspaceStore;
  builds: Pick<BuildStore, "builders">;
  builderMachines: Pick<BuilderMachines, "active">;
  engine: Engine;
  host: HostConnection;
  sightings: Sightings;
  meter: Meter;
  log: Logger;
  /** Says that this database may not be the one that the host's machines belong to. */
  keepUnknownMachines: boolean;
  intervalMs?: number;
  clock?: Clock;
}): Reconciler {
  const { store, builds, builderMachines, engine, host, sightings, meter, log, keepUnknownMachines } = options;
  const { intervalMs = 2_000, clock = systemClock } = options;
  let meteredMs = 0;
  const stopping = new AbortController();
  const { signal } = stopping;

  async function deleteExpired() {
    for (const id of await store.expired(new Date(clock.nowMs()))) {
      // A transition is lost when something else happens at the same time; the next sweep sees it again.
      const row = await store.byId(id);
      const reason = row && whyDeleted(row, clock.nowMs());
      if (!row || reason === undefined) continue;
      if (!(await engine.transition(row, "deleting", { reason }))) continue;
      engine.interrupt(id);
      settleInBackground(id);
    }
  }

  function settleInBackground(id: string) {
    engine.settle(id).catch((error: unknown) => log.warn("a workspace is not settled yet", { workspaceId: id, error }));
  }

  async function compare(seen: Overseen, machine: MachineInfo | undefined) {
    if (seen.state === "failed") {
      if (machine?.state === "running" && machine.generation === seen.generation) await takeBack(seen.id);
    } else if (seen.state !== "running" && seen.state !== "hibernated") {
      // Something is under way; its own step says how it ends.
    } else if (!machine) {
      await engine.transition(seen, "failed", { reason: "its host has no machine of it any more", startedAt: null });
    } else if (machine.generation !== seen.generation) {
      // A machine of another start: its own events decide.
    } else if (machine.state === "dead") {
      await afterDeath(seen, machine);
    } else if (machine.state === "hibernated" && seen.state === "running") {
      await engine.transition(seen, "hibernated", { startedAt: null });
    }
  }

  async function afterDeath(seen: Overseen, machine: MachineInfo) {
    const reason = machine.reason ?? "its machine ended";
    const nowMs = clock.nowMs();
    const livedMs = seen.startedAt ? nowMs - seen.startedAt.getTime() : 0;
    const { lastSnapshot } = machine;
    if (!lastSnapshot || !seen.prepared || livedMs < crashLoopMs) {
      await engine.transition(seen, "failed", { reason, startedAt: null });
      return;
    }
    const row = await engine.goBack(seen, lastSnapshot.id, wentBackReason(reason, lastSnapshot.createdMs, nowMs));
    if (row) settleInBackground(seen.id);
  }

  /** Idle is what the host sees no use of; how long that may last is each workspace's own setting. */
  async function putIdleToSleep(seen: Overseen, machine: MachineInfo | undefined) {
    const { hibernateAfterSeconds } = seen;
    if (hibernateAfterSeconds === null || seen.state !== "running") return;
    if (machine?.state !== "running" || machine.generation !== seen.generation) return;
    if (machine.keptAwakeBy !== null || machine.activeMs === null) return;
    const idleMs = clock.nowMs() - machine.activeMs;
    if (idleMs < hibernateAfterSeconds * 1000) return;
    const row = await engine.transition(seen, "hibernating", { reason: `idle for ${formatDuration(idleMs)}` });
    if (row) settleInBackground(seen.id);
  }

  async function readMeter(rows: readonly Overseen[]) {
    if (clock.nowMs() - meteredMs < meterMs) return;
    meteredMs = clock.nowMs();
    const now = new Date(meteredMs);
    for (const row of rows) await meter.read(row, sightings.of(row.id), now);
  }

  /** A machine runs whose workspace was given up, because the host had not found it again after its own restart. */
  async function takeBack(id: string) {
    const row = await store.byId(id);
    if (row?.state === "failed" && row.prepared) await engine.recover(row);
  }

  async function deleteUnknown(machines: readonly MachineInfo[]) {
    // Rows come before machines and go after them, so rows are read last: what has none then is nobody's.
    const ids = machines.map((machine) => machine.workspaceId);
    const known = await store.known(ids);
    // What was built in a machine that control left when it died can be started from all the same.
    const builders = await builds.builders(ids);
    for (const { workspaceId, generation } of machines) {
      if (known.has(workspaceId) || builderMachines.active.has(workspaceId)) continue;
      if (keepUnknownMachines) {
        log.error("a machine of no workspace is kept: this database may not be its own", { workspaceId });
        continue;
      }
      log.warn("deleting a machine of no workspace", { workspaceId });
      const keepSnapshots = builders.has(workspaceId);
      await remote(host.calls.machines.delete({ workspaceId, generation, keepSnapshots }, { signal }));
    }
  }

  async function sweep() {
    await deleteExpired();
    for (const id of await store.unsettled()) if (!engine.isDriven(id)) settleInBackground(id);
    // Rows are read before machines: a row that was settled then has its machine in the later list.
    const rows = await store.all();
    const { machines } = await remote(host.calls.machines.list({}, { signal }));
    sightings.update(machines);
    for (const row of rows) {
      const machine = sightings.of(row.id);
      await compare(row, machine);
      await putIdleToSleep(row, machine);
    }
    await readMeter(rows);
    await deleteUnknown(machines);
  }

  async function sweepLoop() {
    for (;;) {
      await sweep().catch((error: unknown) => {
        if (!signal.aborted) log.warn("a comparison with the host was cut short", { error });
      });
      if (signal.aborted) return;
      await clock.sleep(intervalMs, signal).catch(() => {
        // Aborted: the loop's condition sees it.
      });
    }
  }

  async function watchLoop() {
    while (!signal.aborted) {
      try {
        for await (const machine of await remote(host.calls.machines.watch({}, { signal }))) {
          sightings.see(machine);
          if (machine.state !== "dead" && machine.state !== "hibernated") continue;
          const row = await store.byId(machine.workspaceId);
          if (row) await compare(row, machine);
        }
      } catch (error) {
        if (!signal.aborted) log.debug("the host's events are away", { error });
      }
      await sleep(watchRetryMs, signal).catch(() => {
        // Aborted: the loop's condition sees it.
      });
    }
  }

  const loops = [sweepLoop(), watchLoop()];
  return {
    sweep,
    async stop() {
      stopping.abort();
      await Promise.allSettled(loops);
    },
  };
}

/** Whether a workspace's time is over; one that is woken meanwhile is wanted, whatever it may have slept. */
function whyDeleted(row: WorkspaceRow, nowMs: number): string | undefined {
  const { state, expiresAt, asleepSince, deleteAfterSeconds } = row;
  if (state === "deleting") return undefined;
  if (expiresAt !== null && expiresAt.getTime() <= nowMs) return "its time to live is over";
  if (state !== "hibernated" || asleepSince === null || deleteAfterSeconds === null) return undefined;
  const sleptMs = nowMs - asleepSince.getTime();
  return sleptMs < deleteAfterSeconds * 1000 ? undefined : `it slept for ${formatDuration(sleptMs)}`;
}
