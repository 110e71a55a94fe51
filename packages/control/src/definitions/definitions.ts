import { DormouseError } from "@dormouse/base";
import type { Dotfiles, FeatureLock, PersonalSetup } from "@dormouse/contract";
import type { EgressPolicies } from "../egress/policies.ts";
import { type HostConnection, remote } from "../host/client.ts";
import type { OwnedRow } from "../workspaces/view.ts";
import { findAccount } from "./accounts.ts";
import type { BuildStore, RepositoryKey } from "./build-store.ts";
import type { Builder, BuildWatcher } from "./builder.ts";
import type { Carrier } from "./carry.ts";
import {
  type Definition,
  type DefinitionProblem,
  environmentOf,
  isSameStart,
  type MachineStart,
  openDefinition,
  problemOf,
} from "./definition.ts";
import { bringDotfiles } from "./dotfiles.ts";
import { hookEnvironment, runStep, startEntrypoints } from "./hooks.ts";
import type { ImageBuilder } from "./image-builder.ts";
import { type LockOptions, lockFeatures } from "./lock.ts";
import { bringIdentity } from "./personal-setup.ts";
import { readDefinition } from "./read.ts";
import { resolveDefinition } from "./resolve.ts";
import { isServiceFailure, startServices } from "./services.ts";
import type { SetUpLog, SetUpLogs } from "./set-up-logs.ts";
import { stepsOfAttach, stepsOfMachine } from "./steps.ts";
import { toolSteps } from "./tools.ts";

/** What looking at a workspace's definition leads to. */
export type Look =
  /** The machine is what the file says. */
  | { kind: "keep"; definition: Definition }
  /** It needs another one, in which the repository lies in this folder. */
  | { kind: "replace"; definition: Definition; folder: string };

/** Applies what a repository says of its workspace. */
export interface Definitions {
  /**
   * Reads the definition in a workspace's machine and makes what it starts from. Never fails for what a repository says:
   * then the machine is kept, or made from its template again, and the definition says why.
   */
  look(row: OwnedRow, signal: AbortSignal): Promise<Look>;
  /** The repository's folder leaves a machine that is given up. */
  takeOut(row: OwnedRow, signal: AbortSignal): Promise<void>;
  /**
   * It comes into its next machine.
   * @throws DormouseError `failed_precondition` when the definition's user is not there.
   */
  putIn(row: OwnedRow, signal: AbortSignal): Promise<void>;
  drop(workspaceId: string): Promise<void>;
  /** Removes what is kept here of a workspace. */
  forget(workspaceId: string): Promise<void>;
  /** What is left when a definition cannot be applied: the workspace's own template, with the reason. */
  recover(row: OwnedRow, error: unknown): Promise<Definition>;
  /**
   * Runs the steps that are due, those that tools wait for or the others. Answers the definition as it is afterwards: a
   * step that failed is its problem, and ends all that follow.
   */
  runSteps(row: OwnedRow, which: "blocking" | "background", signal: AbortSignal): Promise<Definition>;
  /**
   * Lets git and terminals know whose workspace it is: over what the image says at first, afterwards only where nothing else
   * says it.
   */
  bringIdentity(row: OwnedRow, setup: PersonalSetup, options: { isFirst: boolean; signal: AbortSignal }): Promise<void>;
  /** Brings personal settings and installs them. */
  bringDotfiles(row: OwnedRow, dotfiles: Dotfiles, signal: AbortSignal): Promise<void>;
  /**
   * Starts what runs beside the workspace and does not: its services, and with a machine that booted the programs of its
   * features. Answers the notes of the definition, which tell what failed.
   */
  startBeside(row: OwnedRow, options: { isBooted: boolean; signal: AbortSignal }): Promise<string[]>;
  /** Runs the steps for a tool that attaches; answers what went wrong, which keeps no later tool from having them run. */
  runAttachSteps(row: OwnedRow, signal: AbortSignal): Promise<DefinitionProblem | null>;
  /** See {@link lockFeatures}. */
  lock(row: OwnedRow, request: Pick<LockOptions, "upgrade" | "write">, signal: AbortSignal): Promise<FeatureLock>;
  /** What the repository's last workspace came to, to begin with. */
  guess(key: RepositoryKey, isPrebuild: boolean): Promise<Guess | undefined>;
}

/** Of {@link Definitions.guess}. */
export interface Guess {
  definition: Definition;
  folder: string;
}

/** What {@link createDefinitions} works with. */
export interface DefinitionsOptions {
  host: HostConnection;
  store: BuildStore;
  builder: Builder;
  imageBuilder: ImageBuilder;
  carrier: Carrier;
  logs: SetUpLogs;
  policies: Pick<EgressPolicies, "of">;
  hookTimeoutMs: number;
  defaultNamespace: string | undefined;
  /** Tells who follows a workspace how far it is. */
  tell(workspaceId: string, progress: { step: string; message: string; fraction?: number }): void;
}

/** Tags of images and features may lead elsewhere by then. */
const guessFreshMs = 3_600_000;

/** Makes {@link Definitions}. */
export function createDefinitions(options: DefinitionsOptions): Definitions {
  const { host, store, builder, imageBuilder, carrier, logs, policies, hookTimeoutMs, defaultNamespace, tell } =
    options;

  const watcherOf = async (row: OwnedRow, file: SetUpLog): Promise<BuildWatcher> => ({
    egress: await policies.of(row),
    onProgress: (progress) => tell(row.id, progress),
    onLog: file.add,
  });

  const currentStart = ({ template, definition, vcpus, memoryMib, diskGib }: OwnedRow): MachineStart =>
    definition?.start ?? { template, snapshot: null, resources: { vcpus, memoryMib, diskGib } };

  async function decide(row: OwnedRow, before: Definition, watcher: BuildWatcher, signal: AbortSignal) {
    const { wanted, isPrebuild } = before;
    const guest = host.guest(row.id);
    const { id, folder, env, vcpus, memoryMib, diskGib } = row;
    const owner = { id, folder, env };
    const { ownerId, organisationId, repository } = row;
    // What is nobody's repository is this workspace's alone.
    const scope = { ownerId, organisationId, repository: repository ?? id };
    const file =
      wanted === false ? undefined : await readDefinition({ guest, owner, wanted, defaultNamespace, signal });
    // What lies in a prebuild was decided when it was made.
    if (before.stage === "guessed" && before.prebuilt && before.source === (file?.source ?? "")) {
      return { definition: { ...before, stage: "decided" as const }, folder };
    }
    if (!file) {
      const steps = wanted === false ? [] : await toolSteps(guest, folder, signal);
      return { definition: { ...openDefinition(wanted, isPrebuild), stage: "decided" as const, steps }, folder };
    }
    if (before.stage === "guessed" && before.source === file.source) {
      const recent = row.repository && (await store.recent(keyOf(row, row.repository, wanted)));
      if (recent && Date.now() - recent.resolvedAt.getTime() < guessFreshMs) {
        return { definition: { ...before, stage: "decided" as const }, folder };
      }
    }
    const resolved = await resolveDefinition({
      ...{ host, guest, file, owner, defaultNamespace, signal },
      resources: { vcpus, memoryMib, diskGib },
      buildImage: (source) => imageBuilder.ensure(source, { workspaceId: id, folder, scope }, watcher, signal),
      onProgress: watcher.onProgress,
    });
    for (const note of resolved.definition.notes) watcher.onLog(note);
    const { start, imageEnv } = await builder.ensure(resolved, watcher, signal);
    const definition: Definition = {
      ...openDefinition(wanted, isPrebuild),
      ...resolved.definition,
      ...{ stage: "decided", start, imageEnv },
    };
    return { definition, folder: resolved.folder };
  }

  const recover = async ({ id, definition }: OwnedRow, error: unknown): Promise<Definition> => {
    await using file = logs.open(id);
    file.add(DormouseError.from(error).message);
    return {
      ...openDefinition(definition?.wanted ?? null, definition?.isPrebuild),
      stage: "decided",
      problem: problemOf(error, definition?.path ?? null),
      ...(definition?.kept && { kept: definition.kept }),
    };
  };

  const placeOf = async (row: OwnedRow, definition: Definition, signal: AbortSignal) => {
    const guest = host.guest(row.id);
    const account = await findAccount(guest, definition.user ?? "dev", "remoteUser", signal);
    const { id, folder, env } = row;
    return { guest, definition, account, owner: { id, folder, env }, timeoutMs: hookTimeoutMs };
  };

  return {
    async look(row, signal) {
      const before = row.definition ?? openDefinition(null);
      await using file = logs.open(row.id);
      const current = currentStart(row);
      let decided: { definition: Definition; folder: string };
      try {
        decided = await decide(row, before, await watcherOf(row, file), signal);
        const { path, prebuilt } = decided.definition;
        if (row.repository !== null && path !== null && !prebuilt) {
          await store.remember(keyOf(row, row.repository, before.wanted), decided);
        }
      } catch (error) {
        // Neither a machine that is away nor an end that was asked for is the repository's fault.
        if (signal.aborted || DormouseError.from(error).code === "unavailable") throw error;
        decided = { definition: await recover(row, error), folder: row.folder };
      }
      const { folder } = decided;
      const definition = { ...decided.definition, ...(before.kept && { kept: before.kept }) };
      const own = currentStart({ ...row, definition: null });
      const isKept = isSameStart(definition.start ?? own, current) && before.stage !== "again" && folder === row.folder;
      return isKept ? { kind: "keep", definition } : { kind: "replace", definition, folder };
    },

    takeOut: (row, signal) =>
      carrier.takeOut({ workspaceId: row.id, folder: row.folder }, row.definition?.kept, signal),

    async putIn(row, signal) {
      if (!row.definition)
        throw new DormouseError("internal", "nothing was carried for a workspace without definition");
      const { account } = await placeOf(row, row.definition, signal);
      tell(row.id, { step: "carry", message: "Bringing the repository into its machine" });
      await carrier.putIn(row.id, row.folder, account, signal);
    },

    drop: carrier.drop,
    async forget(workspaceId) {
      await carrier.drop(workspaceId);
      await logs.remove(workspaceId);
    },
    recover,

    async runSteps(row, which, signal) {
      let definition = row.definition ?? openDefinition(null);
      const due = stepsOfMachine(definition).filter(({ hook, blocking, occasions }) => {
        if (definition.done.includes(hook)) return false;
        if (definition.isPrebuild) return which === "blocking" && occasions.includes("prebuild");
        return blocking === (which === "blocking");
      });
      const isFirst = which === "blocking" && definition.done.length === 0;
      const hasEntrypoints =
        which === "blocking" && definition.entrypoints.length > 0 && !definition.done.includes("entrypoints");
      const hasServices = which === "blocking" && Boolean(definition.services);
      const isIdle = due.length === 0 && !hasServices && !hasEntrypoints && !(isFirst && definition.folders.length > 0);
      if (isIdle || definition.problem) return definition;
      await using file = logs.open(row.id);
      const watcher = await watcherOf(row, file);
      const place = await placeOf(row, definition, signal);
      if (isFirst) await makeFolders(place, signal);
      if (hasEntrypoints) {
        await startEntrypoints(place, watcher, signal);
        definition = { ...definition, done: [...definition.done, "entrypoints"] };
      }
      if (hasServices) definition = await withServices(definition, row, watcher, signal);
      const env = await hookEnvironment(place, watcher, signal);
      for (const step of due) {
        try {
          await runStep(place, step, env, watcher, signal);
          definition = { ...definition, done: [...definition.done, step.hook] };
        } catch (error) {
          if (signal.aborted || DormouseError.from(error).code === "unavailable") throw error;
          watcher.onLog(DormouseError.from(error).message);
          return { ...definition, problem: problemOf(error, definition.path) };
        }
      }
      return definition;
    },

    async bringIdentity(row, setup, { isFirst, signal }) {
      const definition = row.definition ?? openDefinition(null);
      await using file = logs.open(row.id);
      const place = await placeOf(row, definition, signal);
      const env = environmentOf(definition, place.owner);
      await bringIdentity(place, setup, { env, isFirst, watcher: await watcherOf(row, file), signal });
    },
    async bringDotfiles(row, dotfiles, signal) {
      const definition = row.definition ?? openDefinition(null);
      await using file = logs.open(row.id);
      const watcher = await watcherOf(row, file);
      const place = await placeOf(row, definition, signal);
      await bringDotfiles(place, dotfiles, { env: await hookEnvironment(place, watcher, signal), watcher, signal });
    },

    async startBeside(row, { isBooted, signal }) {
      const definition = row.definition ?? openDefinition(null);
      await using file = logs.open(row.id);
      const watcher = await watcherOf(row, file);
      if (isBooted && definition.entrypoints.length > 0) {
        await startEntrypoints(await placeOf(row, definition, signal), watcher, signal);
      }
      return (await withServices(definition, row, watcher, signal)).notes;
    },

    async runAttachSteps(row, signal) {
      const definition = row.definition ?? openDefinition(null);
      await using file = logs.open(row.id);
      const watcher = await watcherOf(row, file);
      try {
        const place = await placeOf(row, definition, signal);
        const env = await hookEnvironment(place, watcher, signal);
        for (const step of stepsOfAttach(definition)) await runStep(place, step, env, watcher, signal);
        return null;
      } catch (error) {
        if (signal.aborted || DormouseError.from(error).code === "unavailable") throw error;
        watcher.onLog(DormouseError.from(error).message);
        return problemOf(error, definition.path);
      }
    },

    async lock({ id, folder, env, definition }, request, signal) {
      const owner = { id, folder, env };
      const wanted = definition?.wanted ?? null;
      return await lockFeatures({ host, guest: host.guest(id), owner, wanted, defaultNamespace, ...request, signal });
    },

    async guess(key, isPrebuild) {
      if (key.wanted === false) return undefined;
      const recent = await store.recent(key);
      if (!recent || recent.definition.start === null) return undefined;
      const { definition, folder } = recent;
      return {
        definition: {
          ...definition,
          stage: "guessed",
          carried: false,
          done: [],
          problem: null,
          attached: null,
          isPrebuild,
        },
        folder,
      };
    },
  };

  /** The definition, with what failed among its notes. */
  async function withServices(definition: Definition, row: OwnedRow, watcher: BuildWatcher, signal: AbortSignal) {
    const { services } = definition;
    if (!services) return definition;
    const guest = host.guest(row.id);
    const failures = await startServices({ guest, services }, watcher, signal);
    const notes = definition.notes.filter((note) => !isServiceFailure(note));
    return { ...definition, notes: [...notes, ...failures] };
  }

  async function makeFolders({ guest, definition, account }: Awaited<ReturnType<typeof placeOf>>, signal: AbortSignal) {
    for (const path of definition.folders) {
      const { exists } = await remote(guest.files.exists({ path }, { signal }));
      if (exists) continue;
      await remote(guest.files.makeDirectory({ path }, { signal }));
      const owner = `${account.uid}:${account.gid}`;
      await remote(guest.exec.run({ command: ["chown", owner, path], user: "root", cwd: "/" }, { signal }));
    }
  }
}

const keyOf = (row: OwnedRow, repository: string, wanted: Definition["wanted"]): RepositoryKey => {
  const { ownerId, organisationId, ref } = row;
  return { ownerId, organisationId, repository, ref, wanted };
};
