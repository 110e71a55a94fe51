import { DormouseError } from "@dormouse/base";
import type { WorkspaceState } from "@dormouse/contract";
import { and, asc, eq, getTableColumns, inArray, isNotNull, isNull, lte, ne, notInArray, or, sql } from "drizzle-orm";
import { isUniqueViolation } from "../database/errors.ts";
import type { Database } from "../database/open.ts";
import { members, organisations, transitions, users, workspaces } from "../database/schema.ts";
import type { Definition } from "../definitions/definition.ts";
import type { Metered } from "./meter.ts";
import { assertTransition, settledStates } from "./states.ts";
import type { OwnedRow, WorkspaceRow } from "./view.ts";

/** Columns that a transition may set beside the state. */
export type WorkspacePatch = Partial<
  Pick<
    WorkspaceRow,
    | "reason"
    | "failure"
    | "generation"
    | "prepared"
    | "isolation"
    | "startedAt"
    | "restoreSnapshot"
    | "definition"
    | "folder"
    | "vcpus"
    | "memoryMib"
    | "diskGib"
    | "personalSetup"
  >
>;

/** One recorded change of state. */
export interface Transition {
  at: Date;
  state: WorkspaceState;
  reason: string | null;
}

/** Workspaces in the database. Every change of state is recorded there by the same statement. */
export interface WorkspaceStore {
  /** @throws DormouseError `already_exists` when the owner has a workspace of that name. */
  insert(
    row: Omit<typeof workspaces.$inferInsert, "ownerId" | "organisationId" | "createdAt">,
    owner: Owner,
  ): Promise<OwnedRow>;
  byId(id: string): Promise<OwnedRow | undefined>;
  /** By name or id, among a person's own in organisations that they are in. */
  find(userId: string, reference: string): Promise<OwnedRow | undefined>;
  /** The same of other people, in organisations that the person manages; several can have one name. */
  findManaged(userId: string, reference: string): Promise<OwnedRow[]>;
  /** By what stands for it in its ports' origins. */
  byAddress(address: string): Promise<OwnedRow | undefined>;
  /** A person's own, in organisations that they are in. */
  list(userId: string): Promise<OwnedRow[]>;
  /** Everybody's in an organisation. */
  ofOrganisation(organisationId: string): Promise<OwnedRow[]>;
  /** Everybody's, as far as the reconciler looks at them. */
  all(): Promise<Overseen[]>;
  /** Those with something under way. */
  unsettled(): Promise<string[]>;
  /** Those whose time is over: to live, or to sleep. Each may have changed by the time it is looked at again. */
  expired(now: Date): Promise<string[]>;
  /** Ids among these that are workspaces. */
  known(ids: readonly string[]): Promise<Set<string>>;
  /**
   * Changes the state if it is still the one that was seen, else does nothing and gives
   * undefined: somebody was faster, and what they wrote counts.
   * @throws DormouseError `failed_precondition` when there is no such transition.
   */
  transition(seen: Seen, to: WorkspaceState, patch?: WorkspacePatch): Promise<OwnedRow | undefined>;
  /** @throws DormouseError `already_exists` when the owner has another workspace of that name. */
  update(
    id: string,
    patch: Partial<
      Pick<
        WorkspaceRow,
        | "name"
        | "expiresAt"
        | "hibernateAfterSeconds"
        | "deleteAfterSeconds"
        | "asleepSince"
        | "wakeOnHttp"
        | "wakeOnWebSocket"
      >
    >,
  ): Promise<OwnedRow | undefined>;
  /** Of the definition of a workspace that has still the same machine; undefined when it has another, or none. */
  patchDefinition(
    seen: Pick<WorkspaceRow, "id" | "generation">,
    patch: Partial<Definition>,
  ): Promise<OwnedRow | undefined>;
  /** Writes what becomes of a personal set-up that is wanted; false when that is decided already, or none is. */
  decidePersonalSetup(id: string, next: "brought" | null): Promise<boolean>;
  remove(id: string): Promise<void>;
  history(id: string): Promise<Transition[]>;
}

/** What identifies a workspace's state at the time it was read. */
export type Seen = Pick<WorkspaceRow, "id" | "state" | "generation">;
/** What the reconciler knows of every workspace. */
export type Overseen = Seen & Metered & Pick<WorkspaceRow, "hibernateAfterSeconds" | "prepared">;
/** Whose workspace it is. */
export interface Owner {
  userId: string;
  email: string;
  organisation: { id: string; name: string };
}

/** The {@link WorkspaceStore} on a database. */
export function workspaceStore(db: Database): WorkspaceStore {
  const owned = () =>
    db
      .select({ ...getTableColumns(workspaces), owner: users.email, organisation: organisations.name })
      .from(workspaces)
      .innerJoin(users, eq(users.id, workspaces.ownerId))
      .innerJoin(organisations, eq(organisations.id, workspaces.organisationId));
  /** Those in organisations that a person is in; who has left one has no part in what is there. */
  const ofMember = (userId: string) =>
    owned().innerJoin(members, and(eq(members.organisationId, workspaces.organisationId), eq(members.userId, userId)));
  const isCalled = (reference: string) => or(eq(workspaces.id, reference), eq(workspaces.name, reference));
  const one = (rows: unknown[]) => rows[0] as OwnedRow | undefined;
  const byId = async (id: string) => one(await owned().where(eq(workspaces.id, id)));

  return {
    byId,
    async insert(row, { userId, email, organisation }) {
      const rows = await refusingTakenNames(row.name, () =>
        db
          .insert(workspaces)
          .values({ ...row, ownerId: userId, organisationId: organisation.id })
          .returning(),
      );
      return { ...rows[0], owner: email, organisation: organisation.name } as OwnedRow;
    },
    async find(userId, reference) {
      const rows = await ofMember(userId).where(and(eq(workspaces.ownerId, userId), isCalled(reference)));
      // A name is free again while its last bearer is being deleted, and could in theory look like an id.
      return one(rows.filter((row) => row.id === reference)) ?? one((rows as OwnedRow[]).sort(deletingLast));
    },
    async findManaged(userId, reference) {
      const rows = await ofMember(userId).where(
        and(ne(workspaces.ownerId, userId), inArray(members.role, ["owner", "admin"]), isCalled(reference)),
      );
      const exact = rows.filter((row) => row.id === reference);
      return (exact.length > 0 ? exact : rows) as OwnedRow[];
    },
    async byAddress(address) {
      const { id } = workspaces;
      const rows = await owned().where(
        or(eq(workspaces.address, address), and(eq(id, address), isNull(workspaces.address))),
      );
      return one(rows);
    },
    async list(userId) {
      const own = ofMember(userId).where(eq(workspaces.ownerId, userId));
      return (await own.orderBy(asc(workspaces.createdAt))) as OwnedRow[];
    },
    async ofOrganisation(organisationId) {
      const all = owned().where(eq(workspaces.organisationId, organisationId));
      return (await all.orderBy(asc(workspaces.createdAt))) as OwnedRow[];
    },
    async all() {
      const { id, state, generation, ownerId, organisationId, vcpus, memoryMib, startedAt } = workspaces;
      const { hibernateAfterSeconds, prepared } = workspaces;
      const metered = { id, state, generation, ownerId, organisationId, vcpus, memoryMib, startedAt };
      const columns = { ...metered, hibernateAfterSeconds, prepared };
      return (await db.select(columns).from(workspaces)) as Overseen[];
    },
    async unsettled() {
      const rows = await db
        .select({ id: workspaces.id })
        .from(workspaces)
        .where(notInArray(workspaces.state, [...settledStates]));
      return rows.map((row) => row.id);
    },
    async expired(now) {
      const rows = await db
        .select({ id: workspaces.id })
        .from(workspaces)
        .where(and(or(lte(workspaces.expiresAt, now), hasSleptEnough(now)), ne(workspaces.state, "deleting")));
      return rows.map((row) => row.id);
    },
    async known(ids) {
      if (ids.length === 0) return new Set();
      const rows = await db
        .select({ id: workspaces.id })
        .from(workspaces)
        .where(inArray(workspaces.id, [...ids]));
      return new Set(rows.map((row) => row.id));
    },
    async transition(seen, to, patch = {}) {
      assertTransition(seen.state, to);
      const changed = db.$with("changed").as(
        db
          .update(workspaces)
          // A reason and a failure belong to the state they came with.
          .set({
            reason: null,
            failure: null,
            asleepSince: to === "hibernated" ? sql`now()` : null,
            ...patch,
            state: to,
          })
          .where(
            and(
              eq(workspaces.id, seen.id),
              eq(workspaces.state, seen.state),
              eq(workspaces.generation, seen.generation),
            ),
          )
          .returning(),
      );
      const rows = await db
        .with(changed)
        .select()
        .from(changed)
        .innerJoin(users, eq(users.id, changed.ownerId))
        .innerJoin(organisations, eq(organisations.id, changed.organisationId));
      const row = rows[0];
      return row && ({ ...row.changed, owner: row.users.email, organisation: row.organisations.name } as OwnedRow);
    },
    async update(id, patch) {
      if (Object.keys(patch).length > 0) {
        await refusingTakenNames(patch.name, () => db.update(workspaces).set(patch).where(eq(workspaces.id, id)));
      }
      return byId(id);
    },
    async patchDefinition({ id, generation }, patch) {
      const definition = sql`${workspaces.definition} || ${JSON.stringify(patch)}::jsonb`;
      const rows = await db
        .update(workspaces)
        .set({ definition })
        .where(and(eq(workspaces.id, id), eq(workspaces.generation, generation), isNotNull(workspaces.definition)))
        .returning({ id: workspaces.id });
      return rows.length === 0 ? undefined : await byId(id);
    },
    async decidePersonalSetup(id, next) {
      const rows = await db
        .update(workspaces)
        .set({ personalSetup: next })
        .where(and(eq(workspaces.id, id), eq(workspaces.personalSetup, "wanted")))
        .returning({ id: workspaces.id });
      return rows.length > 0;
    },
    async remove(id) {
      await db.delete(workspaces).where(and(eq(workspaces.id, id), eq(workspaces.state, "deleting")));
    },
    async history(id) {
      const { at, state, reason } = transitions;
      const rows = await db
        .select({ at, state, reason })
        .from(transitions)
        .where(eq(transitions.workspaceId, id))
        .orderBy(asc(transitions.id));
      return rows as Transition[];
    },
  };
}

/** Only what sleeps: what is being woken is wanted. */
function hasSleptEnough(now: Date) {
  const { state, asleepSince, deleteAfterSeconds } = workspaces;
  const since = sql`${asleepSince} + ${deleteAfterSeconds} * interval '1 second'`;
  return and(eq(state, "hibernated"), lte(since, now));
}

function deletingLast(a: OwnedRow, b: OwnedRow): number {
  return Number(a.state === "deleting") - Number(b.state === "deleting");
}

async function refusingTakenNames<T>(name: string | undefined, work: () => PromiseLike<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUniqueViolation(error, "workspaces_name")) throw error;
    throw new DormouseError("already_exists", `you have a workspace named ${name} already; choose another name`, {
      details: { name },
      cause: error,
    });
  }
}
