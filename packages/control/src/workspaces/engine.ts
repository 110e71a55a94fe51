import { isDeepStrictEqual } from "node:util";
import { DormouseError, formatDuration, type Logger, retry } from "@dormouse/base";
import type { MachineInfo, PersonalSetup, SnapshotRef, WorkspaceState } from "@dormouse/contract";
import { hasAnything, type PersonalSetups } from "../accounts/personal-setups.ts";
import { type Definition, openDefinition } from "../definitions/definition.ts";
import type { Definitions } from "../definitions/definitions.ts";
import { proposedDotfiles } from "../definitions/dotfiles.ts";
import { backgroundOf, hasAttachSteps } from "../definitions/steps.ts";
import type { EgressPolicies } from "../egress/policies.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { WorkspaceSecrets } from "../secrets/of-workspace.ts";
import type { TemplateStore } from "../templates/store.ts";
import { createBackground } from "./background.ts";
import type { Changes } from "./changes.ts";
import { type CloneProgress, type Credential, cloneRepository, updateRepository } from "./clone.ts";
import type { Meter } from "./meter.ts";
import type { Sightings } from "./sightings.ts";
import { isSettled } from "./states.ts";
import type { Seen, WorkspacePatch, WorkspaceStore } from "./store.ts";
import type { OwnedRow, WorkspaceView } from "./view.ts";

/**
 * Brings workspaces from the state that is written to one in which nothing is under
 * way. It is driven by what the database says, never by what was meant: killed at any
 * point, it goes on from the same row after the next start.
 */
export interface Engine {
  /**
   * Drives a workspace until it is settled and gives its row, or undefined once it is
   * deleted. Joins a drive that is under way. Rejects only when a deletion cannot be
   * finished now (it is tried again later) or the database is away.
   * @param fresh the row as it was just written, which saves reading it.
   */
  settle(id: string, fresh?: OwnedRow): Promise<OwnedRow | undefined>;
  /** Whether a drive of it is under way. */
  isDriven(id: string): boolean;
  /** Writes a transition and tells who follows; undefined when somebody else was faster. */
  transition(seen: Seen, to: WorkspaceState, patch?: WorkspacePatch): Promise<OwnedRow | undefined>;
  /**
   * Writes that a hibernated workspace wakes, as a new generation: what the host still
   * says of its sleep is about the old one.
   */
  wake(row: OwnedRow): Promise<OwnedRow | undefined>;
  /** Writes that a workspace goes back to one of its snapshots; what it is now is given up. */
  goBack(seen: Seen, snapshotId: string, reason: string | null): Promise<OwnedRow | undefined>;
  /**
   * Starts a failed workspace again, by writing the state that leads there: a sleeping
   * machine is woken, a running one taken as it is, a dead one goes back to its newest snapshot, or is restarted from
   * its disk when there is none.
   * @throws DormouseError `data_loss` when there is neither any more.
   */
  recover(row: OwnedRow): Promise<OwnedRow | undefined>;
  /** Gives up the step that is under way, because the row says something else by now. */
  interrupt(id: string): void;
  /**
   * A tool attaches to a running workspace: what its definition has for that is run in the background, after whatever is
   * still run there. False when there is nothing to run.
   */
  attach(row: OwnedRow): boolean;
  /** Kept in memory only, until the repository is there. */
  lendCredential(id: string, credential: Credential): void;
  /** Interrupts everything and waits until it stands still. */
  stop(): Promise<void>;
}

/** How often and how long a step is tried while the host is away, restarting for example. */
const hostRetry = { attempts: 8, delayMs: 100, maxDelayMs: 5_000 };

interface Drive {
  promise: Promise<OwnedRow | undefined>;
  /** Ends the step that is under way. */
  step: AbortController;
  /** Somebody joined who may have written what the last reading of the row did not see. */
  isAskedAgain: boolean;
}

/** Makes the {@link Engine} for one host. */
export function createEngine(options: {
  store: WorkspaceStore;
  personalSetups: Pick<PersonalSetups, "of">;
  definitions: Definitions;
  templates: Pick<TemplateStore, "isMadeOf">;
  policies: Pick<EgressPolicies, "of" | "forget">;
  secrets: WorkspaceSecrets;
  host: HostConnection;
  changes: Changes;
  view: WorkspaceView;
  meter: Meter;
  sightings: Sightings;
  log: Logger;
}): Engine {
  const {
    store,
    personalSetups,
    definitions,
    templates,
    policies,
    host,
    changes,
    view,
    meter,
    sightings,
    secrets,
    log,
  } = options;
  const drives = new Map<string, Drive>();
  const credentials = new Map<string, Credential>();
  const background = createBackground(log);
  /** Workspaces in which the steps of a tool are about to be run. */
  const attaching = new Set<string>();
  let stopped = false;

  /** The last reading of a machine that stops running: what came since the last minute's. */
  async function readMeter(seen: Seen) {
    const row = seen.state === "running" ? await store.byId(seen.id) : undefined;
    if (row?.state === "running") await meter.read(row, sightings.of(row.id), new Date());
  }

  async function transition(seen: Seen, to: WorkspaceState, patch?: WorkspacePatch) {
    // What it misses is less than a minute, and no reason to hold up anybody.
    await readMeter(seen).catch((error: unknown) => log.warn("usage was not written", { workspaceId: seen.id, error }));
    const row = await store.transition(seen, to, patch);
    if (row) {
      log.info("workspace changed", { workspaceId: row.id, from: seen.state, to, reason: row.reason ?? undefined });
      changes.publish(row.id, { type: "state", workspace: view(row) });
    }
    return row;
  }

  const whenRunning = (row: OwnedRow, machine: MachineInfo): WorkspacePatch => ({
    // As the host has it: a machine that ran already keeps the generation it was started with.
    generation: machine.generation,
    isolation: machine.isolation,
    startedAt: new Date(machine.startedMs ?? Date.now()),
    prepared: row.prepared,
    restoreSnapshot: null,
    // Why it went back to a snapshot is worth knowing once it runs again.
    reason: row.restoreSnapshot === null ? null : row.reason,
  });

  /** What was changed while a machine was on its way has not reached it. */
  async function tellChangedSecrets(row: OwnedRow, sent: Awaited<ReturnType<typeof secrets.ofMachine>>) {
    const now = await secrets.ofMachine(row);
    if (!isDeepStrictEqual(now, sent)) await remote(host.calls.secrets.set({ workspaceId: row.id, ...now }));
  }

  async function createMachine(
    row: OwnedRow,
    from: { snapshot?: SnapshotRef | undefined; user?: string | undefined },
    signal: AbortSignal,
  ) {
    const { id: workspaceId, organisationId, generation, name: hostname } = row;
    const { vcpus, memoryMib, diskGib, folder, definition } = row;
    const template = definition?.start?.template ?? row.template;
    const resources = { vcpus, memoryMib, diskGib };
    const sent = await secrets.ofMachine(row);
    const egress = await policies.of(row);
    const whose = { workspaceId, organisationId, generation };
    const machine = { ...whose, template, hostname, resources, folder, egress, ...sent, ...from };
    const made = await remote(host.calls.machines.create(machine, { signal }));
    await tellChangedSecrets(row, sent);
    return made;
  }

  const isFork = ({ definition, sourceWorkspace, sourceSnapshot }: OwnedRow) =>
    sourceWorkspace !== null && sourceSnapshot !== null && !definition?.carried;

  /** What a new machine of a workspace starts from, and whose it is. A fork is whose its snapshot was. */
  function sourceOf(row: OwnedRow) {
    const { definition, sourceWorkspace, sourceSnapshot } = row;
    if (isFork(row)) return { snapshot: { workspaceId: sourceWorkspace ?? "", id: sourceSnapshot ?? "" } };
    return { snapshot: definition?.start?.snapshot ?? undefined, user: definition?.user ?? undefined };
  }

  async function startMachine(row: OwnedRow, signal: AbortSignal) {
    const machine = await createMachine(row, sourceOf(row), signal);
    const isReady = row.prepared && !row.definition?.carried;
    const started = await transition(row, isReady ? "running" : "preparing", whenRunning(row, machine));
    // A machine that booted has nothing of what ran in it before; a fork that was made just now has all of it.
    const isBooted = row.state === "starting" || !isFork(row);
    if (started?.state === "running") runInBackground(started, { started: isBooted ? "booted" : "restored" });
    return started;
  }

  /** What the workspace had before, if it had a machine, is given up first; its timeline is kept. */
  async function makeMachine(row: OwnedRow, signal: AbortSignal) {
    if (row.generation > 1) {
      const before = { workspaceId: row.id, generation: row.generation - 1, keepSnapshots: true };
      await remote(host.calls.machines.delete(before, { signal })).catch((error: unknown) => {
        // The machine of this generation is there: an earlier attempt made it.
        if (DormouseError.from(error).code !== "aborted") throw error;
      });
    }
    try {
      return await startMachine(row, signal);
    } catch (error) {
      // What the last workspace of this repository started from is gone.
      if (row.definition?.stage !== "guessed" || DormouseError.from(error).code !== "not_found") throw error;
      return await transition(row, "creating", {
        generation: row.generation + 1,
        definition: openDefinition(row.definition.wanted, row.definition.isPrebuild),
      });
    }
  }

  /** Another machine, into which the repository's folder is carried. */
  function replaceMachine(row: OwnedRow, definition: Definition, folder: string) {
    return transition(row, "creating", {
      generation: row.generation + 1,
      definition: { ...definition, carried: true },
      // What is a person's own was in the other machine.
      personalSetup: row.personalSetup === "brought" ? "wanted" : row.personalSetup,
      folder,
      ...definition.start?.resources,
    });
  }

  /** The repository is there, the machine is what it says, and what has to run before anybody works in it has run. */
  async function prepare(row: OwnedRow, signal: AbortSignal): Promise<OwnedRow | undefined> {
    let { definition } = row;
    if (definition?.carried) {
      try {
        await definitions.putIn(row, signal);
      } catch (error) {
        // The repository's fault, such as a user that is not there; a machine that has none of it cannot fail so again.
        if (definition.problem || DormouseError.from(error).code !== "failed_precondition") throw error;
        return await replaceMachine(row, await definitions.recover(row, error), row.folder);
      }
    } else if (!row.prepared) {
      const bring = {
        guest: host.guest(row.id),
        row,
        credential: credentials.get(row.id),
        onProgress: (progress: CloneProgress) => changes.publish(row.id, { type: "progress", ...progress }),
        signal,
      };
      if (definition?.prebuilt) definition = await updateRepository(bring, definition, definition.prebuilt);
      else if (!definition?.hasRepository) await cloneRepository(bring);
    }
    if (definition && definition.stage !== "decided") {
      const look = await definitions.look({ ...row, definition }, signal);
      if (look.kind === "replace") {
        await definitions.takeOut(row, signal);
        return await replaceMachine(row, look.definition, look.folder);
      }
      definition = look.definition;
    }
    if (definition) definition = await definitions.runSteps({ ...row, definition }, "blocking", signal);
    const running = await transition(row, "running", {
      prepared: true,
      definition: definition && { ...definition, carried: false },
      reason: definition?.problem?.message ?? null,
    });
    if (running) {
      await definitions.drop(row.id);
      runInBackground(running);
    }
    return running;
  }

  /**
   * What nobody waits for: what runs beside the workspace and does not run, the person's own set-up, steps of the definition, dotfiles. Each is begun once: whether it got to
   * its end cannot be known after a restart of control.
   */
  function runInBackground(row: OwnedRow, { started }: { started?: "booted" | "restored" } = {}) {
    const { definition } = row;
    const names = definition ? backgroundOf(definition) : [];
    const isBooted = started === "booted";
    const hasEntrypoints = isBooted && definition !== null && definition.entrypoints.length > 0;
    const startsBeside = hasEntrypoints || (started !== undefined && Boolean(definition?.services));
    if (names.length === 0 && row.personalSetup !== "wanted" && !startsBeside) return;
    background.run(row.id, async (signal) => {
      if (startsBeside) await tellDefinition(row, { notes: await definitions.startBeside(row, { isBooted, signal }) });
      const setup = row.personalSetup === "wanted" ? await takePersonalSetup(row) : null;
      if (setup) await definitions.bringIdentity(row, setup, { isFirst: true, signal });
      let dotfiles = setup?.dotfiles ?? null;
      if (definition && names.length > 0) {
        await store.patchDefinition(row, { done: [...definition.done, ...names] });
        const { problem } = await definitions.runSteps(row, "background", signal);
        if (problem) await tellDefinition(row, { problem });
        else if (names.includes("dotfiles")) dotfiles ??= proposedDotfiles(definition, row);
      }
      if (!dotfiles) return;
      await definitions.bringDotfiles(row, dotfiles, signal);
      if (setup) await definitions.bringIdentity(row, setup, { isFirst: false, signal });
    });
  }

  /** Null where there is none, or somebody else has decided meanwhile that none comes. */
  async function takePersonalSetup({ id, ownerId }: OwnedRow): Promise<PersonalSetup | null> {
    const setup = await personalSetups.of(ownerId);
    const next = hasAnything(setup) ? "brought" : null;
    return (await store.decidePersonalSetup(id, next)) && next ? setup : null;
  }

  /** Writes what came of steps, unless the machine in which they ran is no longer the workspace's, and tells it. */
  async function tellDefinition(row: OwnedRow, patch: Partial<Definition>) {
    const updated = await store.patchDefinition(row, patch);
    if (updated) changes.publish(row.id, { type: "state", workspace: view(updated) });
  }

  function attach({ id, definition }: OwnedRow): boolean {
    if (!definition || !hasAttachSteps(definition)) return false;
    // Several pages that open at once are one tool: only what comes when the steps have begun has them run again.
    if (attaching.has(id)) return true;
    attaching.add(id);
    background.run(id, async (signal) => {
      attaching.delete(id);
      // As what ran before has left it: after a step that failed, none that follows is run.
      const row = await store.byId(id);
      if (row?.state !== "running" || !row.definition || row.definition.problem) return;
      const problem = await definitions.runAttachSteps(row, signal);
      await tellDefinition(row, { attached: { at: new Date().toISOString(), problem } });
    });
    return true;
  }

  // One step per state that is not settled; each can be repeated, and gives the row it led to, if it could write it.
  const steps: Partial<Record<WorkspaceState, (row: OwnedRow, signal: AbortSignal) => Promise<OwnedRow | undefined>>> =
    {
      creating: makeMachine,
      starting: startMachine,
      preparing: prepare,
      async hibernating(row, signal) {
        await remote(host.calls.machines.hibernate({ workspaceId: row.id, generation: row.generation }, { signal }));
        return transition(row, "hibernated", { startedAt: null });
      },
      async waking(row, signal) {
        const { id: workspaceId, organisationId, generation, restoreSnapshot } = row;
        const egress = await policies.of(row);
        const snapshotId = restoreSnapshot ?? undefined;
        const sent = await secrets.ofMachine(row);
        const wake = { workspaceId, organisationId, generation, snapshotId, egress, ...sent };
        const machine = await remote(host.calls.machines.wake(wake, { signal })).catch((error: unknown) => {
          // A host that never had it, or lost it with its disk, makes it anew from what is in the store.
          if (restoreSnapshot === null || DormouseError.from(error).code !== "not_found") throw error;
          return createMachine(row, { snapshot: { workspaceId, id: restoreSnapshot } }, signal);
        });
        await tellChangedSecrets(row, sent);
        const woken = await transition(row, row.prepared ? "running" : "failed", {
          ...whenRunning(row, machine),
          ...(!row.prepared && { reason: "its repository was not brought in" }),
        });
        if (woken?.state === "running") runInBackground(woken);
        return woken;
      },
      async deleting(row, signal) {
        const keepSnapshots = await templates.isMadeOf(row.id);
        const { id: workspaceId, generation } = row;
        await remote(host.calls.machines.delete({ workspaceId, generation, keepSnapshots }, { signal }));
        await definitions.forget(row.id);
        await policies.forget(row.id);
        await store.remove(row.id);
        log.info("workspace deleted", { workspaceId: row.id });
        changes.publish(row.id, { type: "deleted" });
        return undefined;
      },
    };

  async function fail(row: OwnedRow, caught: unknown) {
    const error = DormouseError.from(caught);
    log.warn("a step failed", { workspaceId: row.id, state: row.state, error });
    // A machine that would not go to sleep is still what it was, and serves on.
    const slept = row.state === "waking" && row.restoreSnapshot === null;
    const to = row.state === "hibernating" ? "running" : slept ? "hibernated" : "failed";
    await transition(row, to, { reason: error.message, failure: error.toJSON(), restoreSnapshot: null });
  }

  async function drive(id: string, own: Drive, fresh?: OwnedRow): Promise<OwnedRow | undefined> {
    let known = fresh;
    for (;;) {
      // What was written since the last step, by whoever interrupted or joined, is only in the database.
      if (own.step.signal.aborted || own.isAskedAgain) known = undefined;
      // Renewed before the row is read: an interruption after the reading must hit the step that follows from it.
      own.step = new AbortController();
      own.isAskedAgain = false;
      const { signal } = own.step;
      if (stopped)
        throw new DormouseError("unavailable", "control is stopping; what is under way goes on after its start");
      const row = known ?? (await store.byId(id));
      known = undefined;
      if (!row || isSettled(row.state)) {
        if (own.isAskedAgain) continue;
        // In the same turn as the question above: who asks from now on starts a drive of their own.
        drives.delete(id);
        return row;
      }
      try {
        known = await retry(() => steps[row.state]?.(row, signal) ?? Promise.resolve(undefined), {
          ...hostRetry,
          isRetryable: (error) => DormouseError.from(error).code === "unavailable",
          signal,
        });
      } catch (error) {
        // An interrupted step has no say: the row has changed, or control is stopping.
        if (signal.aborted) continue;
        if (row.state === "deleting") throw error;
        await fail(row, error);
      }
    }
  }

  const wake = (row: OwnedRow) => transition(row, "waking", { generation: row.generation + 1 });
  const goBack = (seen: Seen, snapshotId: string, reason: string | null) =>
    transition(seen, "waking", {
      generation: seen.generation + 1,
      restoreSnapshot: snapshotId,
      reason,
      startedAt: null,
    });

  /** The host may be one that has the workspace's snapshots and no machine of it. */
  async function newestSnapshot(workspaceId: string) {
    const { snapshots } = await remote(host.calls.snapshots.list({ workspaceId }));
    return snapshots[0];
  }

  async function recover(row: OwnedRow) {
    // Its repository lies here and waits for a machine.
    if (row.definition?.carried) return transition(row, "creating", { generation: row.generation + 1 });
    const { machines } = await remote(host.calls.machines.list({}));
    const machine = machines.find((candidate) => candidate.workspaceId === row.id);
    if (machine?.state === "hibernated") return wake(row);
    if (machine?.state === "running") {
      return transition(row, row.prepared ? "running" : "preparing", whenRunning(row, machine));
    }
    const kept = machine?.lastSnapshot ?? (await newestSnapshot(row.id));
    if (kept) return goBack(row, kept.id, wentBackReason("it was started again", kept.createdMs));
    if (!machine && row.prepared && row.isolation !== null) {
      throw new DormouseError(
        "data_loss",
        `the disk of workspace ${row.name} is gone from its host; delete the workspace and create it anew`,
      );
    }
    return transition(row, "starting", { generation: Math.max(row.generation, machine?.generation ?? 0) + 1 });
  }

  return {
    transition,
    wake,
    goBack,
    recover,
    settle(id, fresh) {
      const active = drives.get(id);
      if (active) {
        active.isAskedAgain = true;
        return active.promise;
      }
      const own: Drive = { step: new AbortController(), isAskedAgain: false, promise: Promise.resolve(undefined) };
      drives.set(id, own);
      own.promise = (async () => {
        try {
          return await drive(id, own, fresh);
        } finally {
          if (drives.get(id) === own) drives.delete(id);
          credentials.delete(id);
        }
      })();
      return own.promise;
    },
    isDriven: (id) => drives.has(id),
    attach,
    interrupt: (id) => drives.get(id)?.step.abort(new DormouseError("aborted", "something else was asked for")),
    lendCredential: (id, credential) => void credentials.set(id, credential),
    async stop() {
      stopped = true;
      const all = [...drives.values()];
      for (const { step } of all) step.abort(new DormouseError("unavailable", "control is stopping"));
      const ended = background.stop(new DormouseError("unavailable", "control is stopping"));
      await Promise.allSettled([...all.map(({ promise }) => promise), ended]);
    },
  };
}

/** What people read when a workspace goes on from a snapshot: why, and how much work is lost. */
export function wentBackReason(why: string, snapshotMs: number, lostMs?: number): string {
  const age = lostMs === undefined ? "" : `, ${formatDuration(Math.max(0, lostMs - snapshotMs))} before`;
  return `${why}; it goes on from its snapshot of ${new Date(snapshotMs).toISOString()}${age}`;
}
