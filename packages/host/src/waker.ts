import { randomUUID } from "node:crypto";
import type { SnapshotRef } from "@dormouse/contract";
import { parseSnapshotId } from "@dormouse/storage";
import type { AgentTokens } from "./agent-token.ts";
import type { MachineStarter } from "./live-machine.ts";
import type { Machine } from "./machine.ts";
import type { MachinePool } from "./machine-pool.ts";
import type { MachineStore } from "./machine-record.ts";
import type { Moments } from "./moments.ts";

/** What a {@link Waker} works with. */
export interface WakerOptions {
  store: MachineStore;
  starter: MachineStarter;
  /** Makes room on a full host for what is started. */
  pool: Pick<MachinePool, "withRoom">;
  moments: Moments;
  tokens: AgentTokens;
}

/**
 * Brings machines to life: from the template, a snapshot, the moment in their folder or their drives alone. Each leaves
 * the record saying what the machine is made from. Nobody has identified it then.
 */
export class Waker {
  readonly #options: WakerOptions;

  constructor(options: WakerOptions) {
    this.#options = options;
  }

  async fromTemplate(machine: Machine): Promise<void> {
    const { pool, starter } = this.#options;
    machine.live = await pool.withRoom(() => starter.restoreTemplate(machine.record));
  }

  /** What is left of the machine's memory is given up, and so is what was kept of it: nothing of it is what it is now. */
  async fromDrives(machine: Machine): Promise<void> {
    const { pool, store, starter } = this.#options;
    Object.assign(machine.record, { booted: true, bootUuid: randomUUID(), memory: null, parent: null });
    await store.save(machine.record);
    machine.live = await pool.withRoom(() => starter.boot(machine.record));
  }

  /** Puts a snapshot's moment into the machine's folder and starts from it. */
  async fromSnapshot(machine: Machine, snapshot: SnapshotRef): Promise<void> {
    const { moments, store, tokens } = this.#options;
    const { record } = machine;
    const { user, ...files } = await moments.fill(record, snapshot);
    const token = tokens.of(files.tokenSalt);
    // A fork may be for somebody else; going back, it is whose it was.
    if (snapshot.workspaceId === record.workspaceId || record.user === undefined) record.user = user;
    Object.assign(record, files, { parent: snapshot, booted: false, token });
    // What it goes on from now is its newest moment, whatever was kept of the one that it leaves.
    const createdMs = parseSnapshotId(snapshot.id)?.createdMs ?? 0;
    if (snapshot.workspaceId === record.workspaceId) record.lastSnapshot = { id: snapshot.id, createdMs };
    await store.save(record);
    await this.fromMoment(machine);
  }

  /**
   * Starts from the moment in the machine's folder. From the first instruction on the machine is another than the moment:
   * that it is no longer to be started from is on disk before the guest runs.
   */
  async fromMoment(machine: Machine): Promise<void> {
    const { pool, store, starter } = this.#options;
    const { record } = machine;
    const live = await pool.withRoom(() => starter.restoreMoment(record));
    machine.live = live;
    const { start } = record;
    record.slot = live.slotIndex;
    record.start = null;
    await store.save(record);
    await live.resume().catch((error: unknown) => {
      // It has not run: the moment is what it was.
      record.start = start;
      throw error;
    });
  }
}
