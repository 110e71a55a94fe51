import { DormouseError, type Logger } from "@dormouse/base";
import type { GuestLink } from "./guest-link.ts";
import { addressOf } from "./machine.ts";
import type { Machines } from "./machines.ts";
import { repeat } from "./repeat.ts";
import type { Snapshots } from "./snapshots.ts";
import type { Timeline } from "./timeline.ts";

/** What {@link Upkeep} works with. */
export interface UpkeepOptions {
  machines: Machines;
  snapshots: Snapshots;
  guest: GuestLink;
  timeline: Timeline;
  /** Clears the cache of what nobody uses. */
  removeUnused: (signal: AbortSignal) => Promise<void>;
  log: Logger;
}

/** How often it is looked which machines are due for a snapshot, and which are in use. */
const snapshotLookMs = 2_000;
const activityLookMs = 30_000;
const garbageMs = 3_600_000;

/** What goes on in the background: snapshots that are due, looks at what is in use, removing what nobody needs. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #stopping = new AbortController();
  #loops: Promise<void>[] = [];

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Goes on until {@link stop}. */
  begin(): void {
    const { signal } = this.#stopping;
    const { snapshots, timeline, removeUnused, log } = this.#options;
    const loop = (everyMs: number, work: () => Promise<void>, what: string) =>
      repeat(everyMs, work, { signal, onError: (error) => log.error(`${what} failed`, { error }) });
    this.#loops = [
      loop(snapshotLookMs, () => snapshots.takeDue(signal), "the snapshot of a machine"),
      loop(activityLookMs, () => this.#lookAround(), "a look at what is in use"),
      loop(garbageMs, () => timeline.collectGarbage(signal), "collecting garbage"),
      loop(garbageMs, () => removeUnused(signal), "removing what nobody uses"),
    ];
  }

  /** Resolves when nothing of it goes on any more. */
  async stop(): Promise<void> {
    this.#stopping.abort(new DormouseError("cancelled", "the host is stopping"));
    await Promise.all(this.#loops);
  }

  async #lookAround(): Promise<void> {
    const { guest, machines, log } = this.#options;
    for (const machine of machines.all()) {
      const { live, activity } = machine;
      if (!live || !activity || machine.record.state !== "running") continue;
      const before = activity.use(Date.now()).keptAwakeBy;
      const source = { activity: () => guest.activity(addressOf(machine)), cpuMs: () => live.cpuMs() };
      await activity.look(source, Date.now()).catch((error: unknown) => {
        log.debug("a machine's activity is not known", { workspaceId: machine.record.workspaceId, error });
      });
      if (activity.use(Date.now()).keptAwakeBy !== before) machines.publish(machine);
    }
  }
}
