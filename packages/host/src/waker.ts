import { randomUUID } from "node:crypto";
import { waitUntilQuiet } from "@dormouse/compute";
import type { SnapshotRef } from "@dormouse/contract";
import { parseSnapshotId } from "@dormouse/storage";
import type { AgentTokens } from "./agent-token.ts";
import type { GuestLink } from "./guest-link.ts";
import type { LiveMachine, MachineStarter } from "./live-machine.ts";
import { addressOf, type Machine } from "./machine.ts";
import type { MachineStore } from "./machine-record.ts";
import type { Moments } from "./moments.ts";
import { environmentOf } from "./secrets.ts";
import { warmRounds } from "./template-folder.ts";

/** What a {@link Waker} works with. */
export interface WakerOptions {
  store: MachineStore;
  starter: MachineStarter;
  guest: GuestLink;
  moments: Moments;
  tokens: AgentTokens;
}

/** Makes room on a full host for what is started, if it can. */
export type WithRoom = <T>(start: () => Promise<T>) => Promise<T>;

/** The emulator translates code once it has run; the first user should find it translated. */
const poolRounds = 4;

/** As long as a store may fail before it is given up, and some more. */
const fillingTimeoutMs = 180_000;

/**
 * Brings machines to life: from the template, a snapshot, the moment in their folder or their drives alone. Each leaves
 * the record saying what the machine is made from. Nobody has identified it then.
 */
export class Waker {
  readonly #options: WakerOptions;
  readonly #withRoom: WithRoom;

  constructor(options: WakerOptions, withRoom: WithRoom) {
    this.#options = options;
    this.#withRoom = withRoom;
  }

  async fromTemplate(machine: Machine): Promise<void> {
    machine.live = await this.#withRoom(() => this.#options.starter.restoreTemplate(machine.record));
  }

  /** What is left of the machine's memory is given up, and so is what was kept of it: nothing of it is what it is now. */
  async fromDrives(machine: Machine): Promise<void> {
    const { store, starter } = this.#options;
    Object.assign(machine.record, { booted: true, bootUuid: randomUUID(), memory: null, parent: null });
    await store.save(machine.record);
    machine.live = await this.#withRoom(() => starter.boot(machine.record));
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
    const { store, starter } = this.#options;
    const { record } = machine;
    const live = await this.#withRoom(() => starter.restoreMoment(record));
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

  /** The agent takes the record's token: the template's, or the one of its last identity. */
  async identify(machine: Machine): Promise<void> {
    const { token, salt } = this.#options.tokens.create();
    // One whose memory is still on its way waits for each page that it needs.
    const options = machine.record.filling ? { timeoutMs: fillingTimeoutMs } : {};
    await this.#options.guest.identify(addressOf(machine), { ...identityOf(machine), token }, options);
    Object.assign(machine.record, { token, tokenSalt: salt });
  }

  /** Tells a machine that runs what it is from now on, and changes nothing else: it keeps its token. */
  async renew(machine: Machine): Promise<void> {
    await this.#options.guest.identify(addressOf(machine), { ...identityOf(machine), token: machine.record.token });
  }

  /** The agent of a machine that was booted runs what a first user has it run, as it did before a template was taken. */
  async warmUp(machine: Machine, signal?: AbortSignal): Promise<void> {
    const identity = { ...identityOf(machine), token: machine.record.token };
    await this.#options.guest.warm(addressOf(machine), identity, { rounds: warmRounds, ...(signal && { signal }) });
  }

  /** A machine of the pool: restored, warmed by the requests that a first user sends, and paused. */
  async warm(machine: Machine, signal: AbortSignal): Promise<LiveMachine> {
    const { guest, starter, store } = this.#options;
    await store.save(machine.record);
    const live = await starter.restoreTemplate(machine.record);
    machine.live = live;
    machine.record.slot = live.slotIndex;
    await this.identify(machine);
    const { token } = machine.record;
    await guest.warm(addressOf(machine), { ...identityOf(machine), token }, { rounds: poolRounds, signal });
    await waitUntilQuiet(() => live.cpuMs(), signal);
    await live.pause();
    await store.save(machine.record);
    return live;
  }
}

function identityOf({ record }: Machine) {
  const { hostname, folder, user, machineUuid, bootUuid } = record;
  return { hostname, folder, env: environmentOf(record), user, machineId: machineUuid, bootId: bootUuid };
}
