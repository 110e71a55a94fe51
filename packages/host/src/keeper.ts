import type { Logger } from "@dormouse/base";
import type { Capture } from "@dormouse/compute";
import type { SnapshotInfo } from "@dormouse/contract";
import type { GuestFacts, GuestLink } from "./guest-link.ts";
import type { LiveMachine } from "./live-machine.ts";
import { addressOf, type Machine } from "./machine.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import type { Moments } from "./moments.ts";
import type { TemplateFolder } from "./template-folder.ts";
import type { Timeline } from "./timeline.ts";

/** What a {@link Keeper} works with. */
export interface KeeperOptions {
  store: MachineStore;
  guest: GuestLink;
  timeline: Timeline;
  moments: Moments;
  /** By its content hash. */
  template: (hash: string) => TemplateFolder;
  log: Logger;
}

/** Why and how a moment is kept. */
export interface KeepOptions {
  reason: SnapshotInfo["reason"];
  name?: string | undefined;
  /** Whether the machine is asked for its repository and processes; one that nobody has used need not be. */
  withFacts: boolean;
  signal?: AbortSignal | undefined;
}

/** The instant of a snapshot is waited for this long; then the machine goes on without one. */
const captureTimeoutMs = 60_000;
const noFacts: GuestFacts = { git: null, processes: null };

/** Keeps machines' moments: captures them, stores them, and writes into the record what they change. */
export class Keeper {
  readonly #options: KeeperOptions;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Takes a snapshot of a machine that goes on; durable when it resolves. For a fork the moment is kept ready too. */
  async keep(machine: Machine, live: LiveMachine, options: KeepOptions): Promise<SnapshotInfo> {
    const { guest, moments, store, timeline } = this.#options;
    const { reason, signal } = options;
    const { record } = machine;
    machine.triedMs = Date.now();
    const address = addressOf(machine);
    const facts = options.withFacts ? await guest.facts(address, record.folder) : noFacts;
    const isFork = reason === "fork";
    // Its moment on this host's disk is made from what the machine started from.
    if (isFork) await moments.whole(record, signal);
    // Before what it changes is copied, and not while processes stand still.
    await guest.collectGarbage(address);
    await using capture = await live.capture({
      complete: isFork,
      timeoutMs: captureTimeoutMs,
      signal,
      beforeStop: () => guest.freeze(address),
      afterResume: () => guest.thaw(address),
    });
    const [ready, stored] = await Promise.allSettled([
      isFork ? moments.prepare(record, capture, signal) : undefined,
      this.#store(record, { ...options, facts, capture }),
    ]);
    if (stored.status === "rejected") {
      if (ready.status === "fulfilled") await ready.value?.discard();
      throw stored.reason;
    }
    const snapshot = stored.value;
    // Without it the forks come from the store.
    if (ready.status === "rejected")
      this.#options.log.warn("a moment is not ready on this host", { error: ready.reason });
    else ready.value?.keepReady(snapshot);
    Object.assign(record, kept(snapshot));
    await store.save(record);
    await capture.confirm();
    const counted = await timeline.prune(snapshot.workspaceId);
    record.snapshotBytes = counted ?? record.snapshotBytes + snapshot.storedBytes;
    return snapshot;
  }

  /**
   * Writes the machine's moment into its folder and into the store; it stands still from then on. In the record stands
   * all it takes to go on from it, or on failure nothing of it.
   */
  async sleep({ record, ...machine }: Machine, live: LiveMachine): Promise<void> {
    const { guest, moments, store } = this.#options;
    const address = addressOf({ record, ...machine });
    await moments.whole(record);
    const facts = await guest.facts(address, record.folder);
    await guest.collectGarbage(address);
    await using capture = await live.capture({
      resume: false,
      complete: true,
      timeoutMs: captureTimeoutMs,
      beforeStop: () => guest.freeze(address, { sync: true }),
    });
    const [files, snapshot] = await Promise.all([
      moments.writeSleep(record, capture),
      this.#store(record, { capture, reason: "hibernate", facts }),
    ]);
    const snapshotBytes = record.snapshotBytes + snapshot.storedBytes;
    const asleep = { ...files, ...kept(snapshot), booted: false, snapshotBytes };
    await store.save({ ...record, ...asleep });
    Object.assign(record, asleep);
  }

  async #store(
    record: MachineRecord,
    moment: {
      capture: Capture;
      reason: SnapshotInfo["reason"];
      name?: string | undefined;
      facts: GuestFacts;
      signal?: AbortSignal | undefined;
    },
  ): Promise<SnapshotInfo> {
    const { moments, timeline, store } = this.#options;
    const { capture, reason, name, facts, signal } = moment;
    const { workspaceId, organisationId, generation, tokenSalt, templateHash, touched, user, booted } = record;
    const template = this.#options.template(templateHash);
    return await timeline.keep(
      {
        capture,
        reason,
        name,
        facts,
        workspaceId: workspaceId ?? "",
        organisationId,
        generation,
        parent: record.parent ?? (booted ? null : await timeline.templateSnapshot(template)),
        base: { memory: booted ? null : store.memoryOf(record, template), disk: store.diskBaseOf(record, template) },
        touched,
        baseIsWhole: (own) => moments.whole(record, own),
        origin: { tokenSalt, templateHash, user },
      },
      signal,
    );
  }
}

/** What a durable snapshot changes in its machine's record. */
function kept({ workspaceId, id, createdMs }: SnapshotInfo): Pick<MachineRecord, "parent" | "lastSnapshot"> {
  return { parent: { workspaceId, id }, lastSnapshot: { id, createdMs } };
}
