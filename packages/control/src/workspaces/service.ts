import { createId, DormouseError, KeyedLock, type Logger } from "@dormouse/base";
import {
  type CreateWorkspace,
  createWorkspace,
  type ExecResult,
  type execRequest,
  type FeatureLock,
  type ForkResult,
  type forkWorkspace,
  type lockFeatures,
  type rebuildWorkspace,
  type Snapshot,
  type SnapshotInfo,
  type UnpushedWork,
  type updateWorkspace,
  type Workspace,
  type WorkspaceEvent,
} from "@dormouse/contract";
import type { z } from "zod";
import { type Actor, actsIn } from "../accounts/actor.ts";
import { openDefinition, volumesOf } from "../definitions/definition.ts";
import type { Definitions } from "../definitions/definitions.ts";
import { serviceLog } from "../definitions/services.ts";
import type { SetUpLogs } from "../definitions/set-up-logs.ts";
import type { EgressPolicies } from "../egress/policies.ts";
import { type HostConnection, remote } from "../host/client.ts";
import { findOrganisation } from "../organisations/find.ts";
import type { Membership, OrganisationStore } from "../organisations/store.ts";
import type { PortAddresses } from "../ports/addresses.ts";
import type { FindPrebuild } from "../prebuilds/find.ts";
import type { TemplateCatalogue } from "../templates/catalogue.ts";
import { beginningOf } from "./beginning.ts";
import type { Changes } from "./changes.ts";
import { type Engine, wentBackReason } from "./engine.ts";
import { candidates, nameAfter, randomName } from "./names.ts";
import type { Quota } from "./quota.ts";
import { checkRef, parseRepositoryUrl } from "./repository-url.ts";
import type { Owner, Transition, WorkspaceStore } from "./store.ts";
import { type OwnedRow, toSnapshot, type WorkspaceView } from "./view.ts";

/**
 * What people and programs can do with workspaces. A workspace of somebody else is
 * `not_found`, like one that is not there; but owners and admins of an organisation see its workspaces, and can put them to
 * sleep and delete them.
 */
export interface WorkspaceService {
  /**
   * Creates a workspace. With `wait` it answers when it runs, and a failure (or the
   * caller going away) leaves nothing behind.
   * @throws DormouseError `invalid_argument`, `already_exists` (name taken), `not_found`
   *   (template, repository, reference), `unauthenticated` (repository),
   *   `resource_exhausted` (host full).
   */
  create(actor: Actor, input: CreateWorkspace, signal?: AbortSignal): Promise<Workspace>;
  /** Their own; of an organisation, for its owners and admins, everybody's in it. */
  list(actor: Actor, organisation?: string): Promise<Workspace[]>;
  get(actor: Actor, reference: string): Promise<Workspace>;
  update(actor: Actor, reference: string, patch: z.output<typeof updateWorkspace>): Promise<Workspace>;
  /** From any state. A host that is away makes it fail with `unavailable`; it is finished when the host is back. */
  delete(actor: Actor, reference: string): Promise<void>;
  /** What would be lost with it; null when there is no repository, or nothing is known of it. Wakes nothing. */
  unpushed(actor: Actor, reference: string): Promise<UnpushedWork | null>;
  hibernate(actor: Actor, reference: string): Promise<Workspace>;
  /** Wakes what sleeps, and starts what failed again from its disk. */
  wake(actor: Actor, reference: string): Promise<Workspace>;
  /** Takes a snapshot of a running workspace; a sleeping one is one already, which is answered. */
  snapshot(actor: Actor, reference: string, name: string | undefined): Promise<Snapshot>;
  /** The workspace's timeline, newest first. */
  snapshots(actor: Actor, reference: string): Promise<Snapshot[]>;
  deleteSnapshot(actor: Actor, reference: string, snapshotId: string): Promise<void>;
  /**
   * Goes back to a snapshot. What the workspace is now is kept as a snapshot first, when it runs.
   * @throws DormouseError `not_found` naming the snapshot.
   */
  restore(actor: Actor, reference: string, snapshotId: string): Promise<Workspace>;
  /**
   * Makes workspaces that go on from this one: from a snapshot, or as it is now. Each of them succeeds or fails by
   * itself; one that failed leaves nothing behind.
   */
  fork(
    actor: Actor,
    reference: string,
    request: z.output<typeof forkWorkspace>,
  ): Promise<{ snapshot: Snapshot; forks: ForkResult[] }>;
  /**
   * Applies the repository's definition again. Unless `ifNeeded`, the machine is made anew in any case: what lies outside of
   * the repository's folder is what the definition makes of it.
   */
  rebuild(actor: Actor, reference: string, request: z.output<typeof rebuildWorkspace>): Promise<Workspace>;
  /** Sees to it that nothing personal is in a workspace or comes into it; false when it is there already. */
  keepImpersonal(row: OwnedRow): Promise<boolean>;
  /**
   * Writes the lock file of its repository's definition, or tells what it would write.
   * @throws DormouseError `not_found` without a definition; naming the feature that is not what the lock file says.
   */
  lockFeatures(
    actor: Actor,
    reference: string,
    request: z.output<typeof lockFeatures>,
    signal?: AbortSignal,
  ): Promise<FeatureLock>;
  /** A tool attaches, and wakes it if it sleeps: whether something is run for it, in the background. */
  attach(actor: Actor, reference: string): Promise<{ runs: boolean }>;
  exec(
    actor: Actor,
    reference: string,
    request: z.output<typeof execRequest>,
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  logs(actor: Actor, reference: string): Promise<{ transitions: Transition[]; console: string; setup: string }>;
  /** What a service that runs beside the workspace wrote last. @throws DormouseError `not_found` when there is none. */
  serviceLog(actor: Actor, reference: string, service: string, signal?: AbortSignal): Promise<string>;
  events(actor: Actor, reference: string, signal?: AbortSignal): AsyncGenerator<WorkspaceEvent, void>;
  /** The workspace when it runs, woken first if it sleeps. */
  running(actor: Actor, reference: string): Promise<OwnedRow>;
  /** The same for one that whoever asks may use. */
  awake(row: OwnedRow): Promise<OwnedRow>;
  /** The workspace as it is. */
  find(actor: Actor, reference: string): Promise<OwnedRow>;
  /** Puts to sleep what somebody has in an organisation, in the background: they are not in it any more. */
  suspend(organisationId: string, ownerId: string): Promise<void>;
}

/** What the platform does unless a workspace says otherwise. */
const defaultHibernateAfterSeconds = 30 * 60;
/** A person waits for it before deleting something. */
const unpushedTimeoutMs = 10_000;

/** Makes the {@link WorkspaceService}. */
export function workspaceService(options: {
  store: WorkspaceStore;
  engine: Engine;
  definitions: Pick<Definitions, "guess" | "lock">;
  logs: Pick<SetUpLogs, "read">;
  policies: Pick<EgressPolicies, "inherit">;
  host: HostConnection;
  changes: Changes;
  templates: TemplateCatalogue;
  findPrebuild: FindPrebuild;
  quota: Quota;
  organisations: Pick<OrganisationStore, "find">;
  addresses: PortAddresses;
  view: WorkspaceView;
  log: Logger;
}): WorkspaceService {
  const { store, engine, definitions, logs, policies, host, changes, templates, quota, addresses, view, log } = options;
  const { findPrebuild, organisations } = options;
  const inserting = new KeyedLock();

  async function find(actor: Actor, reference: string): Promise<OwnedRow> {
    const row = await store.find(actor.userId, reference);
    if (row && actsIn(actor, row.organisationId)) return row;
    throw new DormouseError("not_found", `you have no workspace ${JSON.stringify(reference)}`);
  }

  /** One's own, or one of an organisation that one manages: to see that it is there, put it to sleep and delete it. */
  async function findManaged(actor: Actor, reference: string): Promise<OwnedRow> {
    const own = await store.find(actor.userId, reference);
    if (own && actsIn(actor, own.organisationId)) return own;
    const managed = await store.findManaged(actor.userId, reference);
    const [first, ...others] = managed.filter(({ organisationId }) => actsIn(actor, organisationId));
    if (!first) throw new DormouseError("not_found", `you have no workspace ${JSON.stringify(reference)}`);
    if (others.length === 0) return first;
    throw new DormouseError(
      "invalid_argument",
      `workspace is ${JSON.stringify(reference)}: ${[first, ...others].map(({ owner }) => owner).join(" and ")} have one each; give its id`,
    );
  }

  const organisationOf = (actor: Actor, reference: string | undefined) =>
    findOrganisation(organisations, actor, { reference, field: "organisation" });

  /** Settles and answers the row; what failed meanwhile is thrown as it failed. */
  async function settled(id: string, fresh?: OwnedRow): Promise<OwnedRow> {
    const row = await engine.settle(id, fresh);
    if (!row) throw new DormouseError("aborted", "the workspace was deleted meanwhile");
    const failure = row.failure === null ? undefined : DormouseError.fromJSON(row.failure);
    if (failure) throw failure;
    return row;
  }

  async function beginDeletion(row: OwnedRow, reason: string | null): Promise<void> {
    // Whatever else changes the row at this moment, the deletion comes after it.
    for (let seen: OwnedRow | undefined = row; seen && seen.state !== "deleting"; seen = await store.byId(row.id)) {
      if (await engine.transition(seen, "deleting", { reason })) break;
    }
    engine.interrupt(row.id);
  }

  async function insert(
    actor: Actor,
    input: z.output<typeof createWorkspace>,
    from: Awaited<ReturnType<TemplateCatalogue["get"]>>,
    organisation: Membership,
  ): Promise<OwnedRow> {
    const repository = input.repository === undefined ? undefined : parseRepositoryUrl(input.repository);
    if (input.ref !== undefined) {
      if (!repository) throw new DormouseError("invalid_argument", "ref: a ref needs a repository");
      checkRef(input.ref);
    }
    const row = {
      id: createId("ws"),
      state: "creating",
      template: from.shipped.name,
      ...(await beginningOf(input, from, repository, {
        ...{ ownerId: actor.userId, organisationId: organisation.id, definitions, findPrebuild },
      })),
      env: input.env ?? {},
      expiresAt: expiry(input.ttlSeconds),
      hibernateAfterSeconds:
        input.hibernateAfterSeconds === undefined ? defaultHibernateAfterSeconds : input.hibernateAfterSeconds,
      deleteAfterSeconds: input.deleteAfterSeconds ?? null,
      // What becomes a template is everybody's.
      personalSetup: input.prebuild ? null : "wanted",
    };
    const base = repository ? nameAfter(repository.name) : (from.baked?.name ?? randomName());
    const inserted = await insertNamed(actor, organisation, { wanted: input.name, base, row });
    if (repository?.credential) engine.lendCredential(row.id, repository.credential);
    return inserted;
  }

  /** Under the name that was asked for, or the first like `base` that is free. */
  async function insertNamed(
    actor: Actor,
    { id, name }: Owner["organisation"],
    {
      wanted,
      base,
      row,
    }: { wanted: string | undefined; base: string; row: Omit<Parameters<WorkspaceStore["insert"]>[0], "name"> },
  ): Promise<OwnedRow> {
    // One after the other, so that several at once do not each find the last place free.
    const alone = <T>(work: () => Promise<T>) => inserting.run(actor.userId, () => inserting.run(id, work));
    return await alone(async () => {
      await quota.check({ userId: actor.userId, organisationId: id }, "workspace");
      const owner = { userId: actor.userId, email: actor.email, organisation: { id, name } };
      const insert = async (name: string) =>
        store.insert({ ...row, name, address: await addresses.take(actor.userId, name) }, owner);
      if (wanted !== undefined) return await insert(wanted);
      for (const name of candidates(base)) {
        try {
          return await insert(name);
        } catch (error) {
          if (DormouseError.from(error).code !== "already_exists") throw error;
        }
      }
      throw new DormouseError("internal", "no name was found");
    });
  }

  async function awake(seen: OwnedRow): Promise<OwnedRow> {
    let row = seen;
    // One that is falling asleep has to fall asleep before it can wake.
    for (let attempt = 0; attempt < 3 && row.state !== "running"; attempt++) {
      if (row.state === "hibernated") row = (await engine.wake(row)) ?? row;
      if (row.state === "failed" || row.state === "deleting") throw notRunning(row);
      row = (await engine.settle(row.id)) ?? { ...row, state: "deleting" };
      // A wake that failed leaves it asleep, with the reason.
      if (row.failure !== null) throw notRunning(row);
    }
    if (row.state !== "running") throw notRunning(row);
    return row;
  }

  async function running(actor: Actor, reference: string): Promise<OwnedRow> {
    return awake(await find(actor, reference));
  }

  async function snapshotsOf(workspaceId: string): Promise<SnapshotInfo[]> {
    return (await remote(host.calls.snapshots.list({ workspaceId }))).snapshots;
  }

  async function unpushedNow({ id, folder }: OwnedRow): Promise<UnpushedWork> {
    const signal = AbortSignal.timeout(unpushedTimeoutMs);
    const { git } = host.guest(id);
    const [status, { commits, stashes }] = await Promise.all([
      git.status({ cwd: folder }, { signal }),
      git.unpushed({ cwd: folder }, { signal }),
    ]);
    return {
      at: new Date().toISOString(),
      branch: status.branch,
      changedFiles: status.files.length,
      commits,
      stashes,
    };
  }

  async function findSnapshot(row: OwnedRow, snapshotId: string): Promise<SnapshotInfo> {
    const all = await snapshotsOf(row.id);
    const found = all.find(({ id, name }) => id === snapshotId || name === snapshotId);
    if (found) return found;
    throw new DormouseError(
      "not_found",
      `snapshot is ${JSON.stringify(snapshotId)}: workspace ${row.name} has none of that id or name; it has ${all.length}`,
    );
  }

  /** What sleeps is a snapshot already. */
  async function takeSnapshot(row: OwnedRow, reason: "manual" | "fork", name: string | undefined) {
    const settledRow = row.state === "running" || row.state === "hibernated" ? row : await engine.settle(row.id);
    if (settledRow?.state === "hibernated") {
      const [newest] = await snapshotsOf(row.id);
      if (newest) return newest;
    }
    if (settledRow?.state !== "running") throw notRunning(settledRow ?? row);
    const { id: workspaceId, generation } = settledRow;
    return await remote(host.calls.machines.snapshot({ workspaceId, generation, reason, name }));
  }

  async function forkOne(
    actor: Actor,
    options: {
      parent: OwnedRow;
      snapshot: SnapshotInfo;
      name: string | undefined;
      request: z.output<typeof forkWorkspace>;
    },
  ): Promise<ForkResult> {
    const { parent, snapshot, name, request } = options;
    let made: OwnedRow | undefined;
    try {
      const { template, repository, ref, folder, prepared, vcpus, memoryMib, diskGib } = parent;
      const { hibernateAfterSeconds, deleteAfterSeconds, definition, personalSetup } = parent;
      const row = {
        id: createId("ws"),
        state: "creating",
        ...{ template, repository, ref, folder, prepared, vcpus, memoryMib, diskGib },
        ...{ hibernateAfterSeconds, deleteAfterSeconds, definition, personalSetup },
        // Nothing of the parent's environment is passed on: it may hold its owner's secrets.
        env: request.env ?? {},
        expiresAt: expiry(request.ttlSeconds),
        sourceWorkspace: snapshot.workspaceId,
        sourceSnapshot: snapshot.id,
      };
      // In the same organisation: its key alone opens what it starts from.
      const organisation = { id: parent.organisationId, name: parent.organisation };
      made = await insertNamed(actor, organisation, { wanted: name, base: parent.name, row });
      await policies.inherit(parent.id, made.id);
      return { workspace: view(await settled(made.id, made)) };
    } catch (caught) {
      const failed = made;
      if (failed) {
        await beginDeletion(failed, "it could not be forked");
        await engine.settle(failed.id).catch((error: unknown) => log.warn("a deletion goes on later", { error }));
      }
      const { code, message } = DormouseError.from(caught);
      return { error: { code, message } };
    }
  }

  return {
    running,
    awake,
    find,
    async create(actor, rawInput, signal) {
      const input = createWorkspace.parse(rawInput);
      const organisation = await organisationOf(actor, input.organisation);
      const template = await templates.get(input.template, organisation.id);
      const row = await insert(actor, input, template, organisation);
      if (!input.wait) {
        changes.publish(row.id, { type: "state", workspace: view(row) });
        engine
          .settle(row.id, row)
          .catch((error: unknown) => log.error("creation broke off", { workspaceId: row.id, error }));
        return view(row);
      }
      const giveUp = async () => {
        await beginDeletion(row, "its creation was given up");
        await engine.settle(row.id);
      };
      const onAbort = () => {
        giveUp().catch((error: unknown) => log.warn("a deletion goes on later", { workspaceId: row.id, error }));
      };
      if (signal?.aborted) onAbort();
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        return view(await settled(row.id, row));
      } catch (error) {
        await giveUp().catch((later: unknown) => log.warn("a deletion goes on later", { error: later }));
        throw error;
      } finally {
        signal?.removeEventListener("abort", onAbort);
      }
    },
    async list(actor, reference) {
      if (reference === undefined) {
        return (await store.list(actor.userId)).filter((row) => actsIn(actor, row.organisationId)).map(view);
      }
      const { id, role } = await organisationOf(actor, reference);
      const rows = await store.ofOrganisation(id);
      return (role === "member" ? rows.filter(({ ownerId }) => ownerId === actor.userId) : rows).map(view);
    },
    get: async (actor, reference) => view(await findManaged(actor, reference)),
    async update(actor, reference, patch) {
      const row = await find(actor, reference);
      const updated = await store.update(row.id, {
        ...(patch.name !== undefined && { name: patch.name }),
        ...(patch.ttlSeconds !== undefined && { expiresAt: expiry(patch.ttlSeconds) }),
        ...(patch.hibernateAfterSeconds !== undefined && { hibernateAfterSeconds: patch.hibernateAfterSeconds }),
        ...(patch.wakeOn?.http !== undefined && { wakeOnHttp: patch.wakeOn.http }),
        ...(patch.wakeOn?.webSocket !== undefined && { wakeOnWebSocket: patch.wakeOn.webSocket }),
        ...(patch.deleteAfterSeconds !== undefined && {
          deleteAfterSeconds: patch.deleteAfterSeconds,
          // From now on, as a time to live: what has slept for long already is not gone at once.
          ...(row.state === "hibernated" && { asleepSince: new Date() }),
        }),
      });
      if (!updated) throw new DormouseError("aborted", "the workspace was deleted meanwhile");
      changes.publish(row.id, { type: "state", workspace: view(updated) });
      return view(updated);
    },
    async delete(actor, reference) {
      const row = await findManaged(actor, reference);
      await beginDeletion(row, null);
      await engine.settle(row.id).catch((error: unknown) => {
        throw new DormouseError(
          "unavailable",
          `workspace ${row.name} is being deleted; its host cannot be reached now, so it is finished when the host is back`,
          { cause: error },
        );
      });
    },
    async unpushed(actor, reference) {
      const row = await findManaged(actor, reference);
      // A machine that does not answer, or has no repository there now, is known by its newest snapshot.
      const live = row.state === "running" ? await unpushedNow(row).catch(() => undefined) : undefined;
      if (live) return live;
      const newest = (await snapshotsOf(row.id)).find(({ git }) => git !== null);
      if (!newest?.git) return null;
      const { branch, changedFiles, unpushedCommits, stashes } = newest.git;
      const at = new Date(newest.createdMs).toISOString();
      return { at, branch, changedFiles, commits: unpushedCommits, stashes };
    },
    async hibernate(actor, reference) {
      const row = await findManaged(actor, reference);
      if (row.state === "hibernated") return view(row);
      await engine.transition(row, "hibernating");
      const after = await settled(row.id);
      if (after.state !== "hibernated") throw new DormouseError("aborted", `the workspace is ${after.state} instead`);
      return view(after);
    },
    async wake(actor, reference) {
      const row = await find(actor, reference);
      if (row.state === "failed") await engine.recover(row);
      else return view(await running(actor, reference));
      return view(await settled(row.id));
    },
    async snapshot(actor, reference, name) {
      const row = await find(actor, reference);
      await quota.check({ userId: actor.userId, organisationId: row.organisationId }, "snapshot");
      return toSnapshot(await takeSnapshot(row, "manual", name));
    },
    async snapshots(actor, reference) {
      const { id } = await find(actor, reference);
      return (await snapshotsOf(id)).map(toSnapshot);
    },
    async deleteSnapshot(actor, reference, snapshotId) {
      const { id } = await find(actor, reference);
      await remote(host.calls.snapshots.delete({ workspaceId: id, id: snapshotId }));
    },
    async restore(actor, reference, snapshotId) {
      const row = await find(actor, reference);
      const snapshot = await findSnapshot(row, snapshotId);
      if (row.state === "running") await takeSnapshot(row, "manual", "before going back");
      const fresh = (await store.byId(row.id)) ?? row;
      const back = await engine.goBack(fresh, snapshot.id, wentBackReason("it was asked to", snapshot.createdMs));
      if (!back) throw new DormouseError("aborted", `workspace ${row.name} changed meanwhile; try again`);
      return view(await settled(row.id, back));
    },
    async fork(actor, reference, request) {
      const parent = await find(actor, reference);
      // Before a snapshot is taken for nobody.
      await quota.check({ userId: actor.userId, organisationId: parent.organisationId }, "workspace");
      const snapshot =
        request.snapshot === undefined
          ? await takeSnapshot(parent, "fork", undefined)
          : await findSnapshot(parent, request.snapshot);
      const names = Array.from({ length: request.count }, (_, index) =>
        request.name === undefined || request.count === 1 ? request.name : `${request.name}-${index + 1}`,
      );
      const forks: ForkResult[] = [];
      // One after the other: each is there in a moment, and together they would only wait for the same processors.
      for (const name of names) forks.push(await forkOne(actor, { parent, snapshot, name, request }));
      return { snapshot: toSnapshot(snapshot), forks };
    },
    async suspend(organisationId, ownerId) {
      for (const row of await store.ofOrganisation(organisationId)) {
        if (row.ownerId !== ownerId || row.state !== "running") continue;
        const reason = "its owner is not in its organisation any more";
        const next = await engine.transition(row, "hibernating", { reason });
        if (!next) continue;
        engine
          .settle(row.id, next)
          .catch((error: unknown) => log.error("falling asleep broke off", { workspaceId: row.id, error }));
      }
    },
    async keepImpersonal({ id, personalSetup }) {
      if (personalSetup === null || (await store.decidePersonalSetup(id, null))) return true;
      return (await store.byId(id))?.personalSetup === null;
    },
    async lockFeatures(actor, reference, request, signal = new AbortController().signal) {
      return await definitions.lock(await running(actor, reference), request, signal);
    },
    async attach(actor, reference) {
      return { runs: engine.attach(await running(actor, reference)) };
    },
    async exec(actor, reference, request, signal) {
      const row = await running(actor, reference);
      const { stdin, ...rest } = request;
      const input = { ...rest, stdin: stdin === undefined ? undefined : Buffer.from(stdin).toString("base64") };
      return remote(host.guest(row.id).exec.run(input, { signal }));
    },
    async rebuild(actor, reference, { devcontainer, ifNeeded, wait }) {
      const row = await running(actor, reference);
      const wanted = devcontainer ?? row.definition?.wanted ?? null;
      const definition = {
        ...openDefinition(wanted, row.definition?.isPrebuild),
        start: row.definition?.start ?? null,
        ...(row.definition && { kept: volumesOf(row.definition) }),
      };
      const next = await engine.transition(row, "preparing", {
        definition: { ...definition, stage: ifNeeded ? "open" : "again" },
      });
      if (!next) throw new DormouseError("aborted", "something else happened to the workspace at the same time");
      if (wait) return view(await settled(row.id, next));
      engine
        .settle(row.id, next)
        .catch((error: unknown) => log.error("a rebuild broke off", { workspaceId: row.id, error }));
      return view(next);
    },
    async logs(actor, reference) {
      const row = await find(actor, reference);
      const [transitions, text] = await Promise.all([
        store.history(row.id),
        remote(host.calls.machines.console({ workspaceId: row.id })).catch((error: unknown) => {
          // Without a machine there is no console; the transitions are worth showing all the same.
          log.debug("no console", { workspaceId: row.id, error });
          return { text: "" };
        }),
      ]);
      return { transitions, console: text.text, setup: await logs.read(row.id) };
    },
    async serviceLog(actor, reference, service, signal) {
      const row = await running(actor, reference);
      const names = (row.definition?.services?.runs ?? []).map(({ name }) => name);
      if (names.includes(service)) return await serviceLog(host.guest(row.id), service, signal);
      const known = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
      throw new DormouseError(
        "not_found",
        `service is ${JSON.stringify(service)}: workspace ${row.name} has no such service; ${known}`,
      );
    },
    async *events(actor, reference, signal) {
      const { id } = await find(actor, reference);
      const following = changes.follow(id, signal);
      try {
        const row = await store.byId(id);
        if (!row) return yield { type: "deleted" };
        yield { type: "state", workspace: view(row) };
        yield* following;
      } finally {
        await following.return();
      }
    },
  };
}

function expiry(ttlSeconds: number | null | undefined): Date | null {
  return ttlSeconds === null || ttlSeconds === undefined ? null : new Date(Date.now() + ttlSeconds * 1000);
}

function notRunning(row: OwnedRow): DormouseError {
  const why = row.reason === null ? "" : `: ${row.reason}`;
  const advice = row.state === "failed" ? "; wake it to start it again from its disk, or delete it" : "";
  return new DormouseError("failed_precondition", `workspace ${row.name} is ${row.state}${why}${advice}`, {
    details: { state: row.state },
  });
}
