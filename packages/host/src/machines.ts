import { DormouseError, KeyedLock, type Logger } from "@dormouse/base";
import type { MachineInfo } from "@dormouse/contract";
import { type Machine, toInfo } from "./machine.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import { Watchers } from "./watchers.ts";

/** A workspace's machine, of one generation. */
export interface MachineRef {
  workspaceId: string;
  generation: number;
}

/**
 * The machines that workspaces have on this host. Every change of one is written to its record before it is done; changes
 * of one workspace happen one after the other.
 */
export class Machines {
  readonly #store: MachineStore;
  readonly #log: Logger;
  readonly #machines = new Map<string, Machine>();
  readonly #lock = new KeyedLock();
  readonly #watchers = new Watchers<MachineInfo>();

  constructor({ store, log }: { store: MachineStore; log: Logger }) {
    this.#store = store;
    this.#log = log;
  }

  all(): Iterable<Machine> {
    return this.#machines.values();
  }

  list(): MachineInfo[] {
    return [...this.#machines.values()].map(toInfo);
  }

  workspaceIds(): Iterable<string> {
    return this.#machines.keys();
  }

  /** Whose machine is in a network slot. */
  workspaceIn(slotIndex: number): string | undefined {
    for (const { live, record } of this.#machines.values()) {
      if (live?.slotIndex === slotIndex) return record.workspaceId ?? undefined;
    }
    return undefined;
  }

  /** Undefined: the workspace has none here. */
  get(workspaceId: string): Machine | undefined {
    return this.#machines.get(workspaceId);
  }

  /** @throws DormouseError `not_found` when this host holds no machine of the workspace. */
  find(workspaceId: string): Machine {
    const machine = this.#machines.get(workspaceId);
    if (!machine) throw new DormouseError("not_found", `this host has no machine of ${workspaceId}`);
    return machine;
  }

  /** @throws DormouseError as {@link find}, and `aborted` when the machine is of another generation. */
  findGeneration(ref: MachineRef): Machine {
    const machine = this.find(ref.workspaceId);
    if (machine.record.generation !== ref.generation) throw staleGeneration(ref, machine.record);
    return machine;
  }

  /** From now on it is the one that the workspace has here. */
  add(workspaceId: string, machine: Machine): void {
    this.#machines.set(workspaceId, machine);
  }

  /** The workspace has none here any more; {@link end} ends it. */
  remove(workspaceId: string): void {
    this.#machines.delete(workspaceId);
  }

  /** Does something with a workspace's machine after all that was asked for before. */
  inTurn<T>(workspaceId: string, work: () => Promise<T>): Promise<T> {
    return this.#lock.run(workspaceId, work);
  }

  /** As {@link inTurn}; a snapshot that is only taken because its minute is over gives way. */
  interrupting<T>(workspaceId: string, work: () => Promise<T>): Promise<T> {
    this.#machines.get(workspaceId)?.periodic?.abort(new DormouseError("aborted", "something else was asked for"));
    return this.#lock.run(workspaceId, work);
  }

  /** Writes a change into a machine's record, then tells who watches. */
  async change(machine: Machine, change: Partial<MachineRecord>): Promise<void> {
    Object.assign(machine.record, change);
    await this.#store.save(machine.record);
    this.publish(machine);
  }

  /** Ends a machine's process and removes all that is left of it. */
  async end(machine: Machine): Promise<void> {
    await machine.live?.kill();
    machine.live = undefined;
    await this.#store.remove(machine.record.machineId);
  }

  /** For what happens in the background, where nobody waits for an error. */
  logFailure(machine: Machine): (error: unknown) => void {
    const { machineId, workspaceId } = machine.record;
    return (error) => this.#log.error("the end of a machine was not handled", { machineId, workspaceId, error });
  }

  /** First everything as it is, then every change. Ends with the signal. */
  watch(signal?: AbortSignal): AsyncGenerator<MachineInfo> {
    return this.#watchers.follow(() => this.list(), signal);
  }

  /** Tells who watches how a machine is now. */
  publish(machine: Machine): void {
    this.#watchers.publish(toInfo(machine));
  }

  /** Nobody watches any more. */
  close(): void {
    this.#watchers.close();
  }
}

/** A machine is of a later generation than what was asked for. */
export function staleGeneration(ref: MachineRef, record: MachineRecord): DormouseError {
  return new DormouseError(
    "aborted",
    `generation is ${ref.generation}; the machine of ${ref.workspaceId} has generation ${record.generation}`,
  );
}
