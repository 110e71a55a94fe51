import { type Clock, DormouseError, type Logger, systemClock } from "@dormouse/base";
import type { Actor } from "../accounts/actor.ts";
import type { People } from "../accounts/people.ts";
import type { Definition } from "../definitions/definition.ts";
import type { SetUpLogs } from "../definitions/set-up-logs.ts";
import type { EgressPolicies } from "../egress/policies.ts";
import type { TemplateBaker } from "../templates/bake.ts";
import type { TemplateStore } from "../templates/store.ts";
import type { WorkspaceService } from "../workspaces/service.ts";
import { prebuildTemplate } from "./find.ts";
import { compareRefs, type RefReader } from "./refs.ts";
import { nextScheduled, ttlSecondsOf } from "./schedule.ts";
import type { PrebuildService } from "./service.ts";
import type { PrebuildRow, PrebuildStore } from "./store.ts";

/** What {@link startPrebuilding} works with. */
export interface PrebuildRunnerOptions {
  store: PrebuildStore;
  prebuilds: Pick<PrebuildService, "drop" | "takeAddress">;
  templates: TemplateStore;
  baker: Pick<TemplateBaker, "bake" | "drop">;
  workspaces: Pick<WorkspaceService, "create" | "running" | "exec" | "delete">;
  people: Pick<People, "byId">;
  policies: Pick<EgressPolicies, "ofRepository">;
  logs: SetUpLogs;
  refs: RefReader;
  /** Repositories with a trigger that is seen in them are looked at so often; 0: only when they say that they have changed. */
  lookEveryMs: number;
  log: Logger;
  intervalMs?: number;
  clock?: Clock;
}

/** Makes prebuilds and looks when they are to be made. */
export interface PrebuildRunner {
  /** Once: what has become too old goes, schedules and repositories are looked at. */
  look(): Promise<void>;
  /** Once: makes the one that waits longest. False when none does. */
  build(): Promise<boolean>;
  stop(): Promise<void>;
}

/** As long as one may take, in seconds; a machine that control left when it died is gone then. */
const mostSeconds = 2 * 3600;
/** Of one repository; the oldest go before that. */
const mostRequests = 20;

/**
 * Runs two loops: one that looks when prebuilds are to be made (pushes, pull requests, schedules), and one that makes them, one
 * at a time. What is to be made stands in the database, so that nothing is forgotten when control ends.
 */
export function startPrebuilding(options: PrebuildRunnerOptions): PrebuildRunner {
  const { store, prebuilds, templates, baker, workspaces, people, policies, logs, refs, lookEveryMs, log } = options;
  const { intervalMs = 2_000, clock = systemClock } = options;
  const stopping = new AbortController();
  const { signal } = stopping;

  async function actorOf(row: PrebuildRow): Promise<Actor> {
    const person = await people.byId(row.ownerId);
    if (!person) throw new DormouseError("not_found", "its owner is no more");
    return { userId: person.id, email: person.email, name: person.name, via: "key" };
  }

  async function look() {
    const now = new Date(clock.nowMs());
    for (const row of await store.old(now)) {
      await prebuilds.drop(row);
      if (row.parentId !== null) await store.remove(row.id);
      else await store.patch(row.id, { commit: null, builtAt: null });
    }
    for (const row of await store.due(now)) {
      await store.patch(row.id, { nextAt: nextScheduled(row.triggers, now) });
      await store.want(row.id, "its schedule");
    }
    const since = new Date(lookEveryMs > 0 ? now.getTime() - lookEveryMs : 0);
    for (const row of await store.unseen(since)) {
      if (signal.aborted) return;
      // Before the asking: a repository that cannot be asked is not asked more often than others.
      await store.patch(row.id, { lookedAt: now });
      await lookAt(row).catch((error: unknown) => {
        if (!signal.aborted) log.info("a repository was not looked at", { prebuildId: row.id, error });
      });
    }
  }

  async function lookAt(row: PrebuildRow) {
    const found = await refs.read(row.repository, { egress: await policies.ofRepository(row), signal });
    const { push, requests, refs: seen } = compareRefs(row, found);
    await store.patch(row.id, { refs: seen });
    if (push) await store.want(row.id, "a push");
    const { ownerId, organisationId, repository, devcontainer, ttlSeconds } = row;
    for (const ref of requests.slice(0, mostRequests)) {
      const child = await store.ensure({ ownerId, organisationId, repository, ref, devcontainer }, row.id);
      await store.patch(child.id, { ttlSeconds });
      await store.want(child.id, "a pull request");
    }
    const children = await store.children(row.id);
    for (const child of children.slice(0, Math.max(0, children.length - mostRequests))) {
      await store.remove(child.id);
      await prebuilds.drop(child);
    }
  }

  /** The workspace that becomes it, and what its repository says of prebuilds. */
  async function make(row: PrebuildRow): Promise<{ commit: string; prebuild: Definition["prebuild"] }> {
    const actor = await actorOf(row);
    const { ref, devcontainer } = row;
    const repository = prebuilds.takeAddress(row.id) ?? row.repository;
    const created = await workspaces.create(actor, {
      ...{ repository, ref: ref ?? undefined, devcontainer: devcontainer ?? undefined, prebuild: true, wait: false },
      ...{ organisation: row.organisationId, ttlSeconds: mostSeconds, hibernateAfterSeconds: null },
    });
    try {
      await store.patch(row.id, { workspaceId: created.id });
      const workspace = await workspaces.running(actor, created.id);
      const { definition } = workspace;
      if (definition?.problem) throw new DormouseError("failed_precondition", definition.problem.message);
      const head = await workspaces.exec(actor, created.id, {
        command: ["git", "rev-parse", "HEAD"],
        cwd: workspace.folder,
      });
      const commit = head.stdout.trim();
      if (!/^[0-9a-f]{40,64}$/.test(commit)) {
        throw new DormouseError(
          "failed_precondition",
          `${row.repository} has no commit to prebuild: ${head.stderr.trim()}`,
        );
      }
      const name = prebuildTemplate(row.id);
      const earlier = await templates.versions(name);
      await logs.copy(created.id, row.id);
      await baker.bake(actor, { name, workspace: created.id });
      for (const version of earlier) await baker.drop(version);
      return { commit, prebuild: definition?.prebuild };
    } catch (error) {
      await logs.copy(created.id, row.id);
      await workspaces.delete(actor, created.id).catch((later: unknown) => {
        if (DormouseError.from(later).code !== "not_found") log.warn("a prebuild's machine was left", { error: later });
      });
      throw error;
    }
  }

  async function build(): Promise<boolean> {
    const row = await store.take();
    if (!row) return false;
    const ended = { building: null, workspaceId: null, endedAt: new Date(clock.nowMs()) };
    try {
      const { commit, prebuild } = await make(row);
      const builtAt = new Date(clock.nowMs());
      const triggers = prebuild?.trigger ?? [];
      // A pull request's own file does not decide what is done with its repository.
      const own =
        row.parentId === null
          ? {
              triggers,
              ttlSeconds: prebuild ? ttlSecondsOf(prebuild.ttl) : null,
              nextAt: nextScheduled(triggers, builtAt),
            }
          : {};
      const kept = await store.patch(row.id, { ...ended, endedAt: builtAt, commit, builtAt, ...own });
      // Deleted while it was made.
      if (!kept) await prebuilds.drop(row);
      log.info("prebuilt", { prebuildId: row.id, commit, why: row.building });
    } catch (caught) {
      // What was interrupted waits again after the next start.
      if (signal.aborted) return false;
      const { message } = DormouseError.from(caught);
      log.info("a prebuild failed", { prebuildId: row.id, error: caught });
      await store.patch(row.id, { ...ended, problem: message });
    }
    return true;
  }

  /** Machines that were to become prebuilds when control ended. */
  async function goOn() {
    for (const row of await store.interrupted()) {
      if (row.workspaceId === null) continue;
      await workspaces.delete(await actorOf(row), row.workspaceId).catch((error: unknown) => {
        if (DormouseError.from(error).code !== "not_found") throw error;
      });
    }
  }

  async function repeat(what: string, work: () => Promise<unknown>) {
    while (!signal.aborted) {
      const isBusy = await work().catch((error: unknown) => {
        if (!signal.aborted) log.warn(`${what} was cut short`, { error });
      });
      if (isBusy === true) continue;
      await clock.sleep(intervalMs, signal).catch(() => {
        // Aborted: the loop's condition sees it.
      });
    }
  }

  const loops = [
    repeat("looking for prebuilds", look),
    goOn()
      .catch((error: unknown) => log.warn("a prebuild's machine was left", { error }))
      .then(() => repeat("prebuilding", build)),
  ];
  return {
    look,
    build,
    async stop() {
      stopping.abort(new DormouseError("unavailable", "control is stopping"));
      await Promise.allSettled(loops);
    },
  };
}
