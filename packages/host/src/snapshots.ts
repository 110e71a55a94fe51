import { DormouseError, type Logger } from "@dormouse/base";
import type { SnapshotInfo, SnapshotRef } from "@dormouse/contract";
import type { Keeper } from "./keeper.ts";
import { liveOf, type Machine } from "./machine.ts";
import type { MachineRef, Machines } from "./machines.ts";
import type { Timeline } from "./timeline.ts";

/** What {@link Snapshots} work with. */
export interface SnapshotsOptions {
  machines: Machines;
  keeper: Keeper;
  timeline: Timeline;
  /** A running machine is kept so often, in milliseconds; 0: only when it is asked for. */
  snapshotEveryMs: number;
  log: Logger;
}

/** Snapshots of running machines: taken when they are asked for and when they are due, listed and removed. */
export class Snapshots {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /** Keeps a running machine's moment; it stands still for some milliseconds. Answers when it is durable. */
  take(
    ref: MachineRef & { reason: SnapshotInfo["reason"]; name?: string | undefined },
    options: { signal?: AbortSignal } = {},
  ): Promise<SnapshotInfo> {
    const { machines, keeper } = this.#options;
    return machines.interrupting(ref.workspaceId, async () => {
      const machine = machines.findGeneration(ref);
      const { reason, name } = ref;
      const snapshot = await keeper.keep(machine, liveOf(machine), { reason, name, withFacts: true, ...options });
      await machines.change(machine, {});
      return snapshot;
    });
  }

  /** Those of a workspace that are kept, newest first. */
  list(workspaceId: string): Promise<SnapshotInfo[]> {
    return this.#options.timeline.list(workspaceId);
  }

  /** @throws DormouseError `not_found`, or `failed_precondition` for the one that the workspace needs. */
  remove(snapshot: SnapshotRef): Promise<void> {
    const { machines, timeline } = this.#options;
    const { workspaceId, id } = snapshot;
    return machines.inTurn(workspaceId, async () => {
      if (machines.get(workspaceId)?.record.lastSnapshot?.id === id) {
        throw new DormouseError("failed_precondition", `snapshot ${id} is the newest: what the workspace goes on from`);
      }
      await timeline.remove(snapshot);
      const machine = machines.get(workspaceId);
      const snapshotBytes = await timeline.storedBytes(workspaceId);
      if (machine) await machines.change(machine, { snapshotBytes });
    });
  }

  /** Keeps the machines that have run on for as long as the interval, one after the other. */
  async takeDue(signal: AbortSignal): Promise<void> {
    const { machines, snapshotEveryMs, log } = this.#options;
    if (snapshotEveryMs === 0) return;
    for (const machine of machines.all()) {
      const { workspaceId, startedMs, lastSnapshot, state, isKept } = machine.record;
      if (signal.aborted || state !== "running" || workspaceId === null || !isKept) continue;
      const sinceMs = Math.max(machine.triedMs, startedMs ?? 0, lastSnapshot?.createdMs ?? 0);
      if (Date.now() - sinceMs < snapshotEveryMs) continue;
      await machines
        .inTurn(workspaceId, () => this.#takePeriodic(machine, signal))
        .catch((error: unknown) => {
          if (DormouseError.from(error).code !== "aborted") log.warn("no snapshot this time", { workspaceId, error });
        });
    }
  }

  async #takePeriodic(machine: Machine, stopping: AbortSignal): Promise<void> {
    const { machines, keeper } = this.#options;
    const { live, record } = machine;
    if (!live || record.state !== "running") return;
    machine.periodic = new AbortController();
    const signal = AbortSignal.any([machine.periodic.signal, stopping]);
    try {
      // Nobody has used it since: then its repository is as it was, and asking would only keep it busy.
      const isUsed = (machine.activity?.use(Date.now()).activeMs ?? 0) > (record.lastSnapshot?.createdMs ?? 0);
      await keeper.keep(machine, live, { reason: "periodic", withFacts: isUsed, signal });
      await machines.change(machine, {});
    } finally {
      machine.periodic = undefined;
    }
  }
}
