import { DormouseError, type Logger } from "@dormouse/base";
import type { EgressPolicy, MachineInfo, MachineSecret, Resources, SnapshotRef } from "@dormouse/contract";
import { Activity } from "./activity.ts";
import type { AgentTokens } from "./agent-token.ts";
import type { GuestLink } from "./guest-link.ts";
import { identify, renewIdentity, warmUp } from "./identity.ts";
import type { Keeper } from "./keeper.ts";
import type { LiveMachine } from "./live-machine.ts";
import { addressOf, liveOf, type Machine, newMachine, toInfo } from "./machine.ts";
import type { MachinePool } from "./machine-pool.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import { type MachineRef, type Machines, staleGeneration } from "./machines.ts";
import type { Minder } from "./minder.ts";
import type { Moments } from "./moments.ts";
import type { Outbound } from "./outbound.ts";
import { secretsOf, withoutValues } from "./secrets.ts";
import { warmRounds } from "./template-folder.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";
import type { Waker } from "./waker.ts";

/** What a {@link Lifecycle} works with. */
export interface LifecycleOptions {
  machines: Machines;
  pool: MachinePool;
  waker: Waker;
  keeper: Keeper;
  minder: Minder;
  outbound: Outbound;
  store: MachineStore;
  guest: GuestLink;
  tokens: AgentTokens;
  templates: Templates;
  timeline: Timeline;
  moments: Moments;
  log: Logger;
}

/** What a new machine is to be; as `createMachine` of contract. */
export interface CreateMachine extends MachineRef {
  /** Whose key seals its snapshots; undefined: the installation's. */
  organisationId?: string | undefined;
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

/** What a machine is to be from now on. */
export interface WakeMachine extends MachineRef {
  env: Record<string, string>;
  /** Go back to this snapshot of the workspace, whatever the machine is now. */
  snapshotId?: string | undefined;
  /** Default: as before. */
  organisationId?: string | undefined;
  /** What may leave it from now on; default: as before. */
  egress?: EgressPolicy | undefined;
  /** Whose placeholders are in `env`; default: as before. */
  secrets?: readonly MachineSecret[] | undefined;
}

/** The lives of workspaces' machines: how they come about, sleep, wake and end when somebody asks for it. */
export class Lifecycle {
  readonly #options: LifecycleOptions;

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  /**
   * Idempotent for one generation; a machine of an earlier one that does not run is brought back as of this one.
   * @throws DormouseError `already_exists`; a machine that could not be started leaves nothing behind.
   */
  create(input: CreateMachine): Promise<MachineInfo> {
    const { machines } = this.#options;
    return machines.inTurn(input.workspaceId, async () => {
      const known = machines.get(input.workspaceId);
      return known ? await this.#createAgain(known, input) : await this.#createNew(input);
    });
  }

  /**
   * Keeps a running machine's moment, in its folder and in the store, and ends its process.
   * @throws DormouseError `failed_precondition` when it does not run; one that could not be kept runs on.
   */
  hibernate(ref: MachineRef): Promise<MachineInfo> {
    const { machines, keeper, store } = this.#options;
    return machines.interrupting(ref.workspaceId, async () => {
      const machine = machines.findGeneration(ref);
      if (machine.record.state === "hibernated") return toInfo(machine);
      const live = liveOf(machine);
      await machines.change(machine, { state: "hibernating" });
      try {
        await keeper.sleep(machine, live);
      } catch (error) {
        await this.#stayAwake(machine, live, error);
        throw error;
      }
      await live.kill();
      machine.live = undefined;
      machine.activity = undefined;
      await machines.change(machine, { state: "hibernated", slot: null });
      await store.tidy(machine.record);
      return toInfo(machine);
    });
  }

  /** Puts every machine to sleep that runs. What is being started or woken is waited for: `hibernate` takes its turn. */
  async hibernateAll(): Promise<void> {
    const { machines, log } = this.#options;
    const settled = ["dead", "hibernated"];
    const running = [...machines.all()].filter(({ record }) => !settled.includes(record.state));
    const refs = running.map(({ record }) => ({
      workspaceId: record.workspaceId ?? "",
      generation: record.generation,
    }));
    const results = await Promise.allSettled(refs.map((ref) => this.hibernate(ref)));
    for (const result of results) {
      if (result.status === "rejected") log.error("machine not put to sleep", { error: result.reason });
    }
  }

  /**
   * Has a machine run: from the snapshot that is named, else from its sleep, else from its drive.
   * @throws DormouseError `not_found` naming what is not there; a machine that ran runs on then.
   */
  wake(input: WakeMachine): Promise<MachineInfo> {
    const { machines, outbound, timeline } = this.#options;
    return machines.interrupting(input.workspaceId, async () => {
      const { workspaceId, generation, env, snapshotId, egress, secrets } = input;
      const machine = machines.find(workspaceId);
      const { record } = machine;
      if (record.generation > generation) throw staleGeneration(input, record);
      checkOrganisation(record, input.organisationId);
      const { organisationId = record.organisationId } = input;
      const isDone = record.state === "running" && record.generation === generation;
      if (egress) await outbound.applyPolicy(machine, egress);
      if (secrets) await outbound.applySecrets(machine, { secrets, env });
      if (snapshotId === undefined || isDone) {
        return record.state === "running" ? toInfo(machine) : await this.#bringBack(machine, input);
      }
      const snapshot = { workspaceId, id: snapshotId };
      // First whether it is there, then give up what is.
      await timeline.open(snapshot, { organisationId });
      await machine.live?.kill();
      machine.live = undefined;
      return await this.#bringBack(machine, input, snapshot);
    });
  }

  /** Boots a running machine from its drive, with nothing of its memory, and warms its agent. */
  restart(ref: MachineRef, options: { signal?: AbortSignal | undefined } = {}): Promise<MachineInfo> {
    const { machines, moments, guest } = this.#options;
    return machines.interrupting(ref.workspaceId, async () => {
      const machine = machines.findGeneration(ref);
      const live = liveOf(machine);
      const { record } = machine;
      await moments.whole(record);
      // Frozen: nothing is written any more that would be cut off in the middle.
      await guest.freeze(addressOf(machine), { sync: true });
      await live.kill();
      machine.live = undefined;
      machine.activity = undefined;
      const info = await this.#bringBack(machine, { generation: ref.generation, env: record.env });
      // As it was when the template was taken.
      await warmUp(machine, guest, { rounds: warmRounds, ...options });
      return info;
    });
  }

  /** Ends a machine in any state, and removes all that is left of it. */
  delete(ref: MachineRef & { keepSnapshots: boolean }): Promise<void> {
    const { machines, outbound, timeline } = this.#options;
    return machines.interrupting(ref.workspaceId, async () => {
      const machine = machines.get(ref.workspaceId);
      if (machine && machine.record.generation > ref.generation) throw staleGeneration(ref, machine.record);
      if (machine) await machines.end(machine);
      machines.remove(ref.workspaceId);
      await outbound.forget(ref.workspaceId);
      if (!ref.keepSnapshots) await timeline.removeAll(ref.workspaceId);
    });
  }

  async #createAgain(known: Machine, input: CreateMachine): Promise<MachineInfo> {
    const { record, live } = known;
    if (record.generation === input.generation && record.state === "running") return toInfo(known);
    if (record.generation >= input.generation || live) {
      throw new DormouseError("already_exists", `${input.workspaceId} has a machine here already`);
    }
    checkOrganisation(record, input.organisationId);
    await this.#options.outbound.applySecrets(known, { secrets: input.secrets ?? [], env: input.env });
    return await this.#bringBack(known, input);
  }

  async #createNew(input: CreateMachine): Promise<MachineInfo> {
    const { machines, moments, pool, store, templates, waker } = this.#options;
    const { workspaceId, snapshot, resources, egress, secrets = [] } = input;
    // What it starts from is in the snapshot then.
    const template = snapshot ? templates.base : templates.named(input.template);
    const startedMs = performance.now();
    const usesTemplate = !snapshot && sameResources(template.resources, resources);
    const ready = usesTemplate && template === templates.base ? pool.take() : undefined;
    const machine = ready ?? newMachine(template, resources);
    machine.secrets = secrets;
    Object.assign(machine.record, recordOf(input), { booted: !usesTemplate && !snapshot });
    try {
      machines.add(workspaceId, machine);
      await store.save(machine.record);
      await ready?.live?.setEgress(egress);
      if (ready) await ready.live?.resume();
      else if (snapshot) await waker.fromSnapshot(machine, snapshot);
      else if (usesTemplate) await waker.fromTemplate(machine);
      else await waker.fromDrives(machine);
      const step = ready ? "claim" : snapshot ? "fork" : usesTemplate ? "restore" : "boot";
      await this.#settle(machine, { step, startedMs });
      return toInfo(machine);
    } catch (error) {
      machines.remove(workspaceId);
      await machines.end(machine).catch(machines.logFailure(machine));
      throw moments.fillOf(machine.record)?.failure ?? error;
    }
  }

  /**
   * A machine without a process gets one again: from a snapshot that is named, from its sleep, else from its drive, as
   * after a power cut.
   */
  async #bringBack(
    machine: Machine,
    next: Pick<WakeMachine, "generation" | "env" | "organisationId">,
    named?: SnapshotRef,
  ): Promise<MachineInfo> {
    const { machines, moments, store, waker } = this.#options;
    const { record } = machine;
    // Files that never became whole are no place to start from; the snapshot that they came from is.
    const snapshot = named ?? record.filling ?? undefined;
    const startedMs = performance.now();
    const { generation, env, organisationId = record.organisationId } = next;
    const step = snapshot ? "goBack" : record.start ? "restore" : "boot";
    // What a snapshot's drive has it trust is not known here.
    const trusts = snapshot ? null : record.trusts;
    await machines.change(machine, { state: "waking", generation, env, organisationId, trusts, reason: null });
    try {
      if (snapshot) await waker.fromSnapshot(machine, snapshot);
      else if (record.start) await waker.fromMoment(machine);
      else await waker.fromDrives(machine);
      await this.#settle(machine, { step, startedMs });
    } catch (caught) {
      await machine.live?.kill();
      machine.live = undefined;
      // Why its pages were not to be had says more than that it did not answer.
      const error = moments.fillOf(record)?.failure ?? caught;
      const reason = `could not be woken: ${DormouseError.from(error).message}`;
      await machines.change(machine, { state: record.start ? "hibernated" : "dead", slot: null, reason });
      throw error;
    }
    await store.tidy(record);
    return toInfo(machine);
  }

  /** Gives a machine that has just come to life its identity, then says that it runs. How it came to life is `step`. */
  async #settle(machine: Machine, { step, startedMs }: { step: string; startedMs: number }): Promise<void> {
    const { guest, machines, minder, outbound } = this.#options;
    const { live, record } = machine;
    if (!live) throw new DormouseError("internal", "a machine without a process cannot be identified");
    const beforeMs = performance.now();
    machine.timingsMs = { [step]: beforeMs - startedMs };
    record.slot = live.slotIndex;
    if (record.secrets.length > 0) await live.setSecrets(secretsOf(record, machine.secrets));
    await identify(machine, this.#options);
    const { trusts } = record;
    await outbound.bringTrust(machine, live);
    if (record.trusts !== trusts) await renewIdentity(machine, guest);
    machine.timingsMs.identify = performance.now() - beforeMs;
    machine.activity = new Activity(Date.now());
    await machines.change(machine, { state: "running", startedMs: Date.now(), touched: null });
    minder.mind(machine, live);
    if (!record.booted) minder.noteTouched(machine, live);
    machine.timingsMs.total = performance.now() - startedMs;
  }

  /** A machine that would not go to sleep is still what it was, and serves on. */
  async #stayAwake(machine: Machine, live: LiveMachine, cause: unknown): Promise<void> {
    const { guest, machines, minder } = this.#options;
    try {
      await live.resume();
      await guest.thaw(addressOf(machine));
      await machines.change(machine, { state: "running" });
    } catch (error) {
      machines.logFailure(machine)(error);
      await minder.giveUp(machine, `could not be put to sleep: ${DormouseError.from(cause).message}`);
    }
  }
}

/** What of a new machine's record its workspace has said. */
function recordOf(input: CreateMachine): Partial<MachineRecord> {
  const { resources: _, snapshot: __, secrets = [], isKept = true, ...own } = input;
  return { ...own, isKept, secrets: withoutValues(secrets), trusts: null, state: "starting" };
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
