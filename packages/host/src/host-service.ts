import { DormouseError, type Logger, type Progress } from "@dormouse/base";
import type {
  EgressPolicy,
  ExecResult,
  HostCapacity,
  HostProgress,
  ImageInfo,
  MachineInfo,
  MachineSecret,
  Resources,
  SnapshotRef,
  TemplateInfo,
} from "@dormouse/contract";
import type { SlotPool } from "@dormouse/network";
import { Activity } from "./activity.ts";
import type { AgentTokens } from "./agent-token.ts";
import { type RunOptions, runCommand } from "./commands.ts";
import type { EgressLog } from "./egress-log.ts";
import type { GuestAddress } from "./guest-address.ts";
import type { GuestLink } from "./guest-link.ts";
import { identify, renewIdentity, warmUp } from "./identity.ts";
import type { ImageTemplates } from "./image-templates.ts";
import { Keeper } from "./keeper.ts";
import type { LiveMachine, MachineStarter } from "./live-machine.ts";
import { addressOf, liveOf, type Machine, newMachine, templateInfoOf, toInfo } from "./machine.ts";
import { MachinePool } from "./machine-pool.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import { type MachineRef, Machines, staleGeneration } from "./machines.ts";
import { Minder } from "./minder.ts";
import type { Moments } from "./moments.ts";
import { Outbound } from "./outbound.ts";
import { progressStream } from "./progress-stream.ts";
import { recoverMachines } from "./recovery.ts";
import { repeat } from "./repeat.ts";
import { environmentOf, secretsOf, withoutValues } from "./secrets.ts";
import { Snapshots } from "./snapshots.ts";
import { warmRounds } from "./template-folder.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";
import { Waker } from "./waker.ts";

/** How often it is looked which machines are due for a snapshot, and which are in use. */
const snapshotLookMs = 2_000;
const activityLookMs = 30_000;
const garbageMs = 3_600_000;

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

export interface CreateMachine {
  workspaceId: string;
  /** Whose key seals its snapshots; undefined: the installation's. */
  organisationId?: string | undefined;
  generation: number;
  template: string;
  hostname: string;
  resources: Resources;
  env: Record<string, string>;
  folder: string;
  user?: string | undefined;
  /** Start from this snapshot instead of the template. */
  snapshot?: SnapshotRef | undefined;
  /** Default: yes, every so often. */
  isKept?: boolean | undefined;
  /** What may leave it. */
  egress: EgressPolicy;
  /** Whose placeholders are in `env`. */
  secrets?: readonly MachineSecret[] | undefined;
}

/** An image and a file of a workspace's machine. */
interface DeliverImage {
  image: string;
  workspaceId: string;
  path: string;
}

/** What runs on this host. */
export class HostService {
  readonly snapshots: Snapshots;
  readonly outbound: Outbound;
  readonly #options: HostServiceOptions;
  readonly #machines: Machines;
  readonly #pool: MachinePool;
  readonly #minder: Minder;
  readonly #keeper: Keeper;
  readonly #waker: Waker;
  readonly #stopping = new AbortController();
  #loops: Promise<void>[] = [];

  private constructor(options: HostServiceOptions) {
    this.#options = options;
    this.#machines = new Machines(options);
    this.#minder = new Minder({ ...options, machines: this.#machines });
    this.#keeper = new Keeper({ ...options, template: (hash) => options.templates.get(hash) });
    this.snapshots = new Snapshots({ ...options, machines: this.#machines, keeper: this.#keeper });
    this.outbound = new Outbound({ ...options, machines: this.#machines });
    this.#pool = new MachinePool({ ...options, machines: this.#machines });
    this.#waker = new Waker({ ...options, pool: this.#pool });
  }

  /** Takes over what an earlier daemon left and ends what it left half-made. */
  static async start(options: HostServiceOptions): Promise<HostService> {
    const service = new HostService(options);
    await recoverMachines({ ...options, machines: service.#machines, minder: service.#minder });
    await service.outbound.forgetOthers();
    return service;
  }

  /** Begins what goes on in the background: the full pool, snapshots, looks at what is in use, collecting garbage. */
  begin(): void {
    this.#pool.refill();
    const { signal } = this.#stopping;
    const { timeline, log } = this.#options;
    const loop = (everyMs: number, work: () => Promise<void>, what: string) =>
      repeat(everyMs, work, { signal, onError: (error) => log.error(`${what} failed`, { error }) });
    this.#loops = [
      loop(snapshotLookMs, () => this.snapshots.takeDue(signal), "the snapshot of a machine"),
      loop(activityLookMs, () => this.#lookAround(), "a look at what is in use"),
      loop(garbageMs, () => timeline.collectGarbage(signal), "collecting garbage"),
      loop(garbageMs, () => this.#options.removeUnused(signal), "removing what nobody uses"),
    ];
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

  create(input: CreateMachine): Promise<MachineInfo> {
    return this.#machines.inTurn(input.workspaceId, async () => {
      const known = this.#machines.get(input.workspaceId);
      if (known) {
        if (known.record.generation === input.generation && known.record.state === "running") return toInfo(known);
        if (known.record.generation < input.generation && !known.live) {
          checkOrganisation(known.record, input.organisationId);
          await this.outbound.applySecrets(known, { secrets: input.secrets ?? [], env: input.env });
          return await this.#bringBack(known, input);
        }
        throw new DormouseError("already_exists", `${input.workspaceId} has a machine here already`);
      }
      const { templates } = this.#options;
      // What it starts from is in the snapshot then.
      const template = input.snapshot ? templates.base : templates.named(input.template);
      const startedMs = performance.now();
      const { snapshot } = input;
      const usesTemplate = !snapshot && sameResources(template.resources, input.resources);
      const isPooled = usesTemplate && template === templates.base;
      const warm = isPooled ? this.#pool.take() : undefined;
      const machine = warm ?? newMachine(template, input.resources);
      try {
        const { workspaceId, organisationId, generation, hostname, env, folder, user, isKept = true, egress } = input;
        const { secrets = [] } = input;
        machine.secrets = secrets;
        Object.assign(machine.record, {
          workspaceId,
          organisationId,
          generation,
          hostname,
          env,
          folder,
          user,
          isKept,
          egress,
          secrets: withoutValues(secrets),
          trusts: null,
          template: input.template,
          state: "starting",
          booted: !usesTemplate && !snapshot,
        });
        this.#machines.add(workspaceId, machine);
        await this.#options.store.save(machine.record);
        await warm?.live?.setEgress(egress);
        if (warm) await warm.live?.resume();
        else if (snapshot) await this.#waker.fromSnapshot(machine, snapshot);
        else if (usesTemplate) await this.#waker.fromTemplate(machine);
        else await this.#waker.fromDrives(machine);
        const step = warm ? "claim" : snapshot ? "fork" : usesTemplate ? "restore" : "boot";
        machine.timingsMs = { [step]: performance.now() - startedMs };
        await this.#settle(machine);
        machine.timingsMs.total = performance.now() - startedMs;
        return toInfo(machine);
      } catch (error) {
        this.#machines.remove(input.workspaceId);
        await this.#machines.end(machine).catch(this.#machines.logFailure(machine));
        throw this.#options.moments.fillOf(machine.record)?.failure ?? error;
      }
    });
  }

  hibernate(ref: MachineRef): Promise<MachineInfo> {
    return this.#machines.interrupting(ref.workspaceId, async () => {
      const machine = this.#machines.findGeneration(ref);
      if (machine.record.state === "hibernated") return toInfo(machine);
      const live = liveOf(machine);
      await this.#machines.change(machine, { state: "hibernating" });
      try {
        await this.#keeper.sleep(machine, live);
      } catch (error) {
        await this.#stayAwake(machine, live, error);
        throw error;
      }
      await live.kill();
      machine.live = undefined;
      machine.activity = undefined;
      await this.#machines.change(machine, { state: "hibernated", slot: null });
      await this.#options.store.tidy(machine.record);
      return toInfo(machine);
    });
  }

  /**
   * With `snapshotId` it goes back to that snapshot, whatever it is now.
   * @throws DormouseError `not_found` naming what is not there; a machine that ran runs on then.
   */
  wake(
    ref: MachineRef & {
      env: Record<string, string>;
      snapshotId?: string | undefined;
      organisationId?: string | undefined;
      egress?: EgressPolicy | undefined;
      secrets?: readonly MachineSecret[] | undefined;
    },
  ): Promise<MachineInfo> {
    return this.#machines.interrupting(ref.workspaceId, async () => {
      const machine = this.#machines.find(ref.workspaceId);
      const { record } = machine;
      if (record.generation > ref.generation) throw staleGeneration(ref, record);
      checkOrganisation(record, ref.organisationId);
      const { snapshotId, organisationId = record.organisationId } = ref;
      const isDone = record.state === "running" && record.generation === ref.generation;
      if (ref.egress) await this.outbound.applyPolicy(machine, ref.egress);
      if (ref.secrets) await this.outbound.applySecrets(machine, { secrets: ref.secrets, env: ref.env });
      if (snapshotId === undefined || isDone) {
        return record.state === "running" ? toInfo(machine) : await this.#bringBack(machine, ref);
      }
      const snapshot = { workspaceId: ref.workspaceId, id: snapshotId };
      // First whether it is there, then give up what is.
      await this.#options.timeline.open(snapshot, { organisationId });
      await machine.live?.kill();
      machine.live = undefined;
      return await this.#bringBack(machine, ref, snapshot);
    });
  }

  /** Boots a running machine from its drive, with nothing of its memory, and warms its agent. */
  restart(ref: MachineRef, options: { signal?: AbortSignal | undefined } = {}): Promise<MachineInfo> {
    return this.#machines.interrupting(ref.workspaceId, async () => {
      const machine = this.#machines.findGeneration(ref);
      const live = liveOf(machine);
      const { record } = machine;
      await this.#options.moments.whole(record);
      // Frozen: nothing is written any more that would be cut off in the middle.
      await this.#options.guest.freeze(addressOf(machine), { sync: true });
      await live.kill();
      machine.live = undefined;
      machine.activity = undefined;
      const { env } = record;
      const info = await this.#bringBack(machine, { generation: ref.generation, env });
      // As it was when a template was taken.
      await warmUp(machine, this.#options.guest, { rounds: warmRounds, ...options });
      return info;
    });
  }

  delete(ref: MachineRef & { keepSnapshots: boolean }): Promise<void> {
    return this.#machines.interrupting(ref.workspaceId, async () => {
      const machine = this.#machines.get(ref.workspaceId);
      if (machine && machine.record.generation > ref.generation) throw staleGeneration(ref, machine.record);
      if (machine) await this.#machines.end(machine);
      this.#machines.remove(ref.workspaceId);
      await this.outbound.forget(ref.workspaceId);
      if (!ref.keepSnapshots) await this.#options.timeline.removeAll(ref.workspaceId);
    });
  }

  /** Ends the service. With `hibernate` every running machine is put to sleep first; without, all run on. */
  async stop(options: { hibernate: boolean }): Promise<void> {
    this.#stopping.abort(new DormouseError("cancelled", "the host is stopping"));
    await Promise.all(this.#loops);
    if (options.hibernate) {
      await this.#pool.close();
      // What is being started or woken is waited for: `hibernate` takes its turn.
      const settled = ["dead", "hibernated"];
      const running = [...this.#machines.all()].filter(({ record }) => !settled.includes(record.state));
      const refs = running.map(({ record }) => ({
        workspaceId: record.workspaceId ?? "",
        generation: record.generation,
      }));
      const results = await Promise.allSettled(refs.map((ref) => this.hibernate(ref)));
      for (const result of results) {
        if (result.status === "rejected") this.#options.log.error("machine not put to sleep", { error: result.reason });
      }
    }
    await this.#options.moments.close();
    this.#machines.close();
    await this.outbound.close();
  }

  async #lookAround(): Promise<void> {
    const { guest, log } = this.#options;
    for (const machine of this.#machines.all()) {
      const { live, activity } = machine;
      if (!live || !activity || machine.record.state !== "running") continue;
      const before = activity.use(Date.now()).keptAwakeBy;
      const source = { activity: () => guest.activity(addressOf(machine)), cpuMs: () => live.cpuMs() };
      await activity.look(source, Date.now()).catch((error: unknown) => {
        log.debug("a machine's activity is not known", { workspaceId: machine.record.workspaceId, error });
      });
      if (activity.use(Date.now()).keptAwakeBy !== before) this.#machines.publish(machine);
    }
  }

  /** A machine that would not go to sleep is still what it was, and serves on. */
  async #stayAwake(machine: Machine, live: LiveMachine, cause: unknown): Promise<void> {
    try {
      await live.resume();
      await this.#options.guest.thaw(addressOf(machine));
      await this.#machines.change(machine, { state: "running" });
    } catch (error) {
      this.#machines.logFailure(machine)(error);
      await this.#minder.giveUp(machine, `could not be put to sleep: ${DormouseError.from(cause).message}`);
    }
  }

  /**
   * A machine without a process gets one again: from a snapshot that is named, from its sleep, else from its drive, as
   * after a power cut.
   */
  async #bringBack(
    machine: Machine,
    next: { generation: number; env: Record<string, string>; organisationId?: string | undefined },
    named?: SnapshotRef,
  ): Promise<MachineInfo> {
    const { record } = machine;
    // Files that never became whole are no place to start from; the snapshot that they came from is.
    const snapshot = named ?? record.filling ?? undefined;
    const startedMs = performance.now();
    const { generation, env, organisationId = record.organisationId } = next;
    const kind = snapshot ? "goBack" : record.start ? "restore" : "boot";
    // What a snapshot's drive has it trust is not known here.
    const trusts = snapshot ? null : record.trusts;
    await this.#machines.change(machine, { state: "waking", generation, env, organisationId, trusts, reason: null });
    try {
      if (snapshot) await this.#waker.fromSnapshot(machine, snapshot);
      else if (record.start) await this.#waker.fromMoment(machine);
      else await this.#waker.fromDrives(machine);
      machine.timingsMs = { [kind]: performance.now() - startedMs };
      await this.#settle(machine);
      machine.timingsMs.total = performance.now() - startedMs;
    } catch (caught) {
      await machine.live?.kill();
      machine.live = undefined;
      // Why its pages were not to be had says more than that it did not answer.
      const error = this.#options.moments.fillOf(record)?.failure ?? caught;
      const reason = `could not be woken: ${DormouseError.from(error).message}`;
      await this.#machines.change(machine, { state: record.start ? "hibernated" : "dead", slot: null, reason });
      throw error;
    }
    await this.#options.store.tidy(record);
    return toInfo(machine);
  }

  /** Gives a machine that has just come to life its identity, then says that it runs. */
  async #settle(machine: Machine): Promise<void> {
    const { live, record } = machine;
    if (!live) throw new DormouseError("internal", "a machine without a process cannot be identified");
    record.slot = live.slotIndex;
    const beforeMs = performance.now();
    if (record.secrets.length > 0) await live.setSecrets(secretsOf(record, machine.secrets));
    await identify(machine, this.#options);
    const { trusts } = record;
    await this.outbound.bringTrust(machine, live);
    if (record.trusts !== trusts) await renewIdentity(machine, this.#options.guest);
    machine.timingsMs.identify = performance.now() - beforeMs;
    machine.activity = new Activity(Date.now());
    await this.#machines.change(machine, { state: "running", startedMs: Date.now(), touched: null });
    this.#minder.mind(machine, live);
    if (!record.booted) this.#minder.noteTouched(machine, live);
  }
}

function sameResources(a: Resources, b: Resources): boolean {
  return a.vcpus === b.vcpus && a.memoryMib === b.memoryMib && a.diskGib === b.diskGib;
}

/** A machine stays in its organisation: that one's key seals all that it has. */
function checkOrganisation({ workspaceId, organisationId }: MachineRecord, wanted: string | undefined): void {
  if (organisationId === undefined || wanted === undefined || wanted === organisationId) return;
  throw new DormouseError(
    "failed_precondition",
    `the machine of ${workspaceId} is of organisation ${organisationId}, not of ${wanted}`,
  );
}
