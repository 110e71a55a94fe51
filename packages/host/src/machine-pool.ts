import { DormouseError, type Logger } from "@dormouse/base";
import { waitUntilQuiet } from "@dormouse/compute";
import type { AgentTokens } from "./agent-token.ts";
import type { GuestLink } from "./guest-link.ts";
import { identify, warmUp } from "./identity.ts";
import type { LiveMachine, MachineStarter } from "./live-machine.ts";
import { type Machine, newMachine } from "./machine.ts";
import type { MachineStore } from "./machine-record.ts";
import type { Machines } from "./machines.ts";
import type { Templates } from "./templates.ts";
import { WarmPool } from "./warm-pool.ts";

/** What a {@link MachinePool} works with. */
export interface MachinePoolOptions {
  machines: Machines;
  store: MachineStore;
  starter: MachineStarter;
  guest: GuestLink;
  tokens: AgentTokens;
  templates: Pick<Templates, "base">;
  poolSize: number;
  log: Logger;
}

/** What a user does first with a new workspace has the processor for itself. */
const refillDelayMs = 1_500;

/** The emulator translates code once it has run; the first user should find it translated. */
const poolRounds = 4;

/** The machines that are kept ready: restored from `base`, warmed by the requests that a first user sends, and paused. */
export class MachinePool {
  readonly #options: MachinePoolOptions;
  readonly #ready: WarmPool<Machine>;

  constructor(options: MachinePoolOptions) {
    this.#options = options;
    const { machines, poolSize: size, log } = options;
    const make = (signal: AbortSignal) => this.#make(signal);
    const discard = (machine: Machine) => machines.end(machine);
    this.#ready = new WarmPool({ size, refillDelayMs, make, discard, log });
  }

  /** How many are to be ready, and how many are. */
  counts(): { size: number; ready: number } {
    return { size: this.#ready.size, ready: this.#ready.ready };
  }

  /** One of them, paused, for a workspace; undefined: there is none. */
  take(): Machine | undefined {
    return this.#ready.take();
  }

  /**
   * Starts something that needs room on this host. Whoever has a workspace goes before what is kept ready: the pool gives its
   * machines up one by one.
   */
  async withRoom<T>(start: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await start();
      } catch (error) {
        const spare = DormouseError.from(error).code === "resource_exhausted" ? this.take() : undefined;
        if (!spare) throw error;
        await this.#options.machines.end(spare);
      }
    }
  }

  /** Makes what is missing, in the background. */
  refill(): void {
    this.#ready.refill();
  }

  /** Ends what is ready. */
  async close(): Promise<void> {
    await this.#ready.close();
  }

  async #make(signal: AbortSignal): Promise<Machine> {
    const { machines, templates } = this.#options;
    const machine = newMachine(templates.base, templates.base.resources);
    const live = await this.#warm(machine, signal).catch(async (error: unknown) => {
      await machines.end(machine);
      throw error;
    });
    live.died
      .then(async () => {
        this.#ready.remove(machine);
        if (machine.record.workspaceId === null) await machines.end(machine);
      })
      .catch(machines.logFailure(machine));
    return machine;
  }

  async #warm(machine: Machine, signal: AbortSignal): Promise<LiveMachine> {
    const { guest, starter, store } = this.#options;
    const { record } = machine;
    await store.save(record);
    const live = await starter.restoreTemplate(record);
    machine.live = live;
    record.slot = live.slotIndex;
    await identify(machine, this.#options);
    await warmUp(machine, guest, { rounds: poolRounds, signal });
    await waitUntilQuiet(() => live.cpuMs(), signal);
    await live.pause();
    await store.save(record);
    return live;
  }
}
