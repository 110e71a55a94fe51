import { DormouseError, type Logger, type Progress } from "@dormouse/base";
import type { ExecResult, HostCapacity, HostProgress, ImageInfo, MachineInfo, TemplateInfo } from "@dormouse/contract";
import type { SlotPool } from "@dormouse/network";
import type { AgentTokens } from "./agent-token.ts";
import { type RunOptions, runCommand } from "./commands.ts";
import type { EgressLog } from "./egress-log.ts";
import type { GuestAddress } from "./guest-address.ts";
import type { GuestLink } from "./guest-link.ts";
import type { ImageTemplates } from "./image-templates.ts";
import { Keeper } from "./keeper.ts";
import { Lifecycle } from "./lifecycle.ts";
import type { MachineStarter } from "./live-machine.ts";
import { addressOf, templateInfoOf, toInfo } from "./machine.ts";
import { MachinePool } from "./machine-pool.ts";
import type { MachineStore } from "./machine-record.ts";
import { Machines } from "./machines.ts";
import { Minder } from "./minder.ts";
import type { Moments } from "./moments.ts";
import { Outbound } from "./outbound.ts";
import { progressStream } from "./progress-stream.ts";
import { recoverMachines } from "./recovery.ts";
import { environmentOf } from "./secrets.ts";
import { Snapshots } from "./snapshots.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";
import { Upkeep } from "./upkeep.ts";
import { Waker } from "./waker.ts";

/** What a {@link HostService} works with. */
export interface HostServiceOptions {
  store: MachineStore;
  starter: MachineStarter;
  guest: GuestLink;
  templates: Templates;
  images: ImageTemplates;
  timeline: Timeline;
  moments: Moments;
  tokens: AgentTokens;
  egress: SlotPool["egress"];
  egressLog: EgressLog;
  /** A running machine is kept so often, in milliseconds; 0: only when it is asked for. */
  snapshotEveryMs: number;
  poolSize: number;
  /** Clears the cache of what nobody uses. */
  removeUnused: (signal: AbortSignal) => Promise<void>;
  capacity: () => Promise<Omit<HostCapacity, "pool">>;
  log: Logger;
}

/** An image and a file of a workspace's machine. */
interface DeliverImage {
  image: string;
  workspaceId: string;
  path: string;
}

/** Those of its parts that a {@link HostService} goes on to use. */
interface Parts {
  machines: Machines;
  pool: MachinePool;
  lifecycle: Lifecycle;
  snapshots: Snapshots;
  outbound: Outbound;
  upkeep: Upkeep;
}

/**
 * What runs on this host. It puts the parts together, says what is asked about the host as a whole, and shows the way to its
 * machines. Which machines there are, and in which order they change, is `machines.ts`; who wants to have one changed asks:
 *
 * - `lifecycle`: created, put to sleep, woken, started anew, deleted;
 * - `snapshots`: kept as it is now;
 * - `outbound`: allowed to reach more or less, with which secrets.
 *
 * What nobody asks for: `recovery.ts` takes over what an earlier daemon left, `minder.ts` notices what becomes of machines that
 * run, `upkeep.ts` does what is due, `machine-pool.ts` keeps some ready.
 */
export class HostService {
  readonly lifecycle: Lifecycle;
  readonly snapshots: Snapshots;
  readonly outbound: Outbound;
  readonly #options: HostServiceOptions;
  readonly #machines: Machines;
  readonly #pool: MachinePool;
  readonly #upkeep: Upkeep;

  private constructor(options: HostServiceOptions, parts: Parts) {
    this.#options = options;
    this.#machines = parts.machines;
    this.#pool = parts.pool;
    this.#upkeep = parts.upkeep;
    this.lifecycle = parts.lifecycle;
    this.snapshots = parts.snapshots;
    this.outbound = parts.outbound;
  }

  /** Takes over what an earlier daemon left and ends what it left half-made. */
  static async start(options: HostServiceOptions): Promise<HostService> {
    const machines = new Machines(options);
    const own = { ...options, machines };
    const outbound = new Outbound(own);
    const minder = new Minder(own);
    await recoverMachines({ ...own, minder });
    await outbound.forgetOthers();
    const pool = new MachinePool(own);
    const waker = new Waker({ ...options, pool });
    const keeper = new Keeper({ ...options, template: (hash) => options.templates.get(hash) });
    const lifecycle = new Lifecycle({ ...own, pool, waker, keeper, minder, outbound });
    const snapshots = new Snapshots({ ...own, keeper });
    const upkeep = new Upkeep({ ...own, snapshots });
    return new HostService(options, { machines, pool, lifecycle, snapshots, outbound, upkeep });
  }

  /** Begins what goes on in the background: the full pool, snapshots, looks at what is in use, collecting garbage. */
  begin(): void {
    this.#pool.refill();
    this.#upkeep.begin();
  }

  /** @throws DormouseError `not_found` when this host holds no machine of the workspace. */
  get(workspaceId: string): MachineInfo {
    return toInfo(this.#machines.find(workspaceId));
  }

  list(): MachineInfo[] {
    return this.#machines.list();
  }

  /** First everything as it is, then every change. Ends with the signal. */
  watch(signal?: AbortSignal): AsyncGenerator<MachineInfo> {
    return this.#machines.watch(signal);
  }

  /** Those that a person can name. */
  templates(): TemplateInfo[] {
    return [templateInfoOf(this.#options.templates.base)];
  }

  /** Makes the template of an image unless it is there; see {@link ImageTemplates.ofImage}. */
  async *templateOfImage(image: string, signal?: AbortSignal): AsyncGenerator<HostProgress, TemplateInfo> {
    const make = (progress: Progress, own: AbortSignal) =>
      this.#pool.withRoom(() => this.#options.images.ofImage(image, progress, own));
    return templateInfoOf(yield* progressStream(make, signal));
  }

  /** See {@link ImageTemplates.deliver}. */
  async *deliverImage(input: DeliverImage, signal?: AbortSignal): AsyncGenerator<HostProgress, Record<string, never>> {
    const { image, workspaceId, path } = input;
    const guest = this.guestAddress(workspaceId);
    yield* progressStream(
      (progress, own) => this.#options.images.deliver({ image, guest, path }, progress, own),
      signal,
    );
    return {};
  }

  /** See {@link ImageTemplates.adopt}. */
  adoptImage({ workspaceId, path }: Omit<DeliverImage, "image">, signal?: AbortSignal) {
    const guest = this.guestAddress(workspaceId);
    const adopt = (progress: Progress, own: AbortSignal): Promise<ImageInfo> =>
      this.#options.images.adopt({ guest, path }, progress, own);
    return progressStream(adopt, signal);
  }

  /** Network slots of all workspaces' machines that have a process. */
  slotIndexes(): number[] {
    return [...this.#machines.all()].flatMap(({ live }) => (live ? [live.slotIndex] : []));
  }

  /** Ids of all workspaces' machines that have a process. */
  machineIds(): string[] {
    return [...this.#machines.all()].flatMap(({ live, record }) => (live ? [record.machineId] : []));
  }

  async capacity(): Promise<HostCapacity> {
    return { ...(await this.#options.capacity()), pool: this.#pool.counts() };
  }

  /** @throws DormouseError `unavailable` when the workspace has no running machine here. */
  guestAddress(workspaceId: string): GuestAddress {
    const machine = this.#machines.find(workspaceId);
    if (machine.record.state === "running") return addressOf(machine);
    throw new DormouseError("unavailable", `the machine of ${workspaceId} is ${machine.record.state}`);
  }

  /**
   * `exec.run` of the guest contract.
   * @throws DormouseError `unavailable` when the workspace has no running machine here.
   */
  async run(workspaceId: string, options: RunOptions, signal?: AbortSignal): Promise<ExecResult> {
    const { record } = this.#machines.find(workspaceId);
    const { folder, user = undefined } = record;
    const defaults = { env: environmentOf(record), folder, user };
    return await runCommand(this.guestAddress(workspaceId), defaults, options, signal);
  }

  /**
   * Resolves when all that a workspace's machine started from is on this host.
   * @throws DormouseError as {@link Moments.whole}.
   */
  async whole(workspaceId: string, signal?: AbortSignal): Promise<void> {
    await this.#options.moments.whole(this.#machines.find(workspaceId).record, signal);
  }

  /** A request for a machine passes. */
  use(workspaceId: string): void {
    this.#machines.get(workspaceId)?.activity?.touch(Date.now());
  }

  /** A connection to a machine is opened, to `what` in words; the answer is to be called at its end. */
  connect(workspaceId: string, what: string): () => void {
    const activity = this.#machines.get(workspaceId)?.activity;
    activity?.touch(Date.now());
    return activity?.connect(what) ?? (() => {});
  }

  async console(workspaceId: string): Promise<string> {
    return (await this.#machines.find(workspaceId).live?.console()) ?? "";
  }

  /** Ends the service. With `hibernate` every running machine is put to sleep first; without, all run on. */
  async stop(options: { hibernate: boolean }): Promise<void> {
    await this.#upkeep.stop();
    if (options.hibernate) {
      await this.#pool.close();
      await this.lifecycle.hibernateAll();
    }
    await this.#options.moments.close();
    this.#machines.close();
    await this.outbound.close();
  }
}
