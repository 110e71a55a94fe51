import { DormouseError, type Logger } from "@dormouse/base";
import type { LiveMachine } from "./live-machine.ts";
import type { Machine } from "./machine.ts";
import type { Machines } from "./machines.ts";
import type { Moments } from "./moments.ts";
import { encodeTouched } from "./touched.ts";

/** What a {@link Minder} works with. */
export interface MinderOptions {
  machines: Machines;
  moments: Moments;
  log: Logger;
}

/** What a machine touches in so long after it came to life is what it needs first. */
const firstTouchesMs = 2_000;

/** Minds machines that run: what becomes of them without having been asked for. */
export class Minder {
  readonly #options: MinderOptions;

  constructor(options: MinderOptions) {
    this.#options = options;
  }

  /** Notices from now on that its process ended, and what becomes of files that it started from before they were there. */
  mind(machine: Machine, live: LiveMachine): void {
    this.#noticeDeath(machine, live);
    this.#noticeFill(machine, live);
  }

  /** Notes what it touches first. For its snapshots: whoever starts from one of them fetches that first. */
  noteTouched(machine: Machine, live: LiveMachine): void {
    setTimeout(() => void this.#noteTouched(machine, live), firstTouchesMs).unref();
  }

  /** Ends a machine that cannot go on. What it was kept as is still there. */
  async giveUp(machine: Machine, reason: string): Promise<void> {
    const { machines, moments, log } = this.#options;
    const { live } = machine;
    // From now on it is away for whoever asks for it: its address is nobody's, and what is sent there may go anywhere.
    machine.live = undefined;
    machine.activity = undefined;
    await live?.kill();
    const why = moments.fillOf(machine.record)?.failure?.message ?? reason;
    await machines.change(machine, { state: "dead", slot: null, reason: why });
    log.warn("machine died", { workspaceId: machine.record.workspaceId, reason: why });
  }

  #noticeDeath(machine: Machine, live: LiveMachine): void {
    const onDeath = (reason: string) => this.#giveUpInTurn(machine, live, reason);
    live.died.then(onDeath).catch(this.#options.machines.logFailure(machine));
  }

  /** A machine whose files became whole is one like any other; one whose files cannot become so is given up. */
  #noticeFill(machine: Machine, live: LiveMachine): void {
    const { machines, moments } = this.#options;
    const onWhole = async () => {
      if (machine.live === live) await machines.change(machine, { filling: null });
    };
    const onFailure = async (caught: unknown) => {
      const { code, message } = DormouseError.from(caught);
      if (code !== "cancelled") await this.#giveUpInTurn(machine, live, message);
    };
    moments.fillOf(machine.record)?.whole.then(onWhole, onFailure).catch(machines.logFailure(machine));
  }

  /** Unless it is another process's or nobody's by then. */
  async #giveUpInTurn(machine: Machine, live: LiveMachine, reason: string): Promise<void> {
    const { workspaceId } = machine.record;
    if (machine.live !== live || !workspaceId) return;
    await this.#options.machines.inTurn(workspaceId, async () => {
      if (machine.live === live) await this.giveUp(machine, reason);
    });
  }

  async #noteTouched(machine: Machine, live: LiveMachine): Promise<void> {
    const { machines, log } = this.#options;
    try {
      if (machine.live !== live) return;
      const touched = encodeTouched(await live.touched());
      if (machine.live === live) await machines.change(machine, { touched });
    } catch (error) {
      // One that has just ended; of others the next wake takes longer.
      const { machineId } = machine.record;
      log.debug("what a machine touched is not known", { machineId, error });
    }
  }
}
