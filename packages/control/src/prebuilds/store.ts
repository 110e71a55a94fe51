import { createId } from "@dormouse/base";
import { and, asc, eq, getTableColumns, isNotNull, isNull, lte, or, sql } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { members, organisations, prebuilds } from "../database/schema.ts";

/** A repository that is prebuilt for somebody. */
export type PrebuildRow = typeof prebuilds.$inferSelect;

/** The same with the name of its organisation. */
export type NamedPrebuildRow = PrebuildRow & { organisation: string };

/** What is prebuilt: there is one of each. */
export type PrebuildKey = Pick<PrebuildRow, "ownerId" | "organisationId" | "repository" | "ref" | "devcontainer">;

/** What may be written of one. */
export type PrebuildPatch = Partial<
  Omit<PrebuildRow, "id" | "key" | "parentId" | "createdAt" | "wantedAt" | keyof PrebuildKey>
>;

/** Prebuilds in the database. */
export interface PrebuildStore {
  /** The one of this key, made when there is none. */
  ensure(key: PrebuildKey, parentId?: string): Promise<PrebuildRow>;
  byId(id: string): Promise<NamedPrebuildRow | undefined>;
  /** A person's own, in organisations that they are in. */
  list(userId: string): Promise<NamedPrebuildRow[]>;
  /** What somebody has prebuilt in an organisation, beside those of pull requests. */
  of(whose: Pick<PrebuildRow, "ownerId" | "organisationId">): Promise<PrebuildRow[]>;
  /** Those of pull requests of a repository, the oldest first. */
  children(id: string): Promise<PrebuildRow[]>;
  /** Those of a repository that are there to start from. */
  ready(of: Pick<PrebuildRow, "ownerId" | "organisationId" | "repository">): Promise<PrebuildRow[]>;
  patch(id: string, patch: PrebuildPatch): Promise<PrebuildRow | undefined>;
  /** One is to be made. What was asked for already stays in its place. */
  want(id: string, why: string): Promise<void>;
  /** The one that waits longest, which is being made from now on. */
  take(): Promise<PrebuildRow | undefined>;
  /** What was being made when control ended waits again. */
  interrupted(): Promise<PrebuildRow[]>;
  /** Whose schedule says so. */
  due(now: Date): Promise<PrebuildRow[]>;
  /** With a trigger that is seen in the repository, and not looked at since. */
  unseen(since: Date): Promise<PrebuildRow[]>;
  /** There for longer than they are kept. */
  old(now: Date): Promise<PrebuildRow[]>;
  remove(id: string): Promise<void>;
}

/** The ref without what git lets be left out, and GitHub's and GitLab's pages do not show. */
export function plainRef(ref: string | null): string | null {
  return ref === null ? null : ref.replace(/^refs\//, "").replace(/^heads\//, "");
}

/** The {@link PrebuildStore} on a database. */
export function prebuildStore(db: Database): PrebuildStore {
  const keyOf = ({ organisationId, ownerId, repository, ref, devcontainer }: PrebuildKey) =>
    JSON.stringify([organisationId, ownerId, repository, plainRef(ref), devcontainer]);
  const named = () =>
    db
      .select({ ...getTableColumns(prebuilds), organisation: organisations.name })
      .from(prebuilds)
      .innerJoin(organisations, eq(organisations.id, prebuilds.organisationId));
  const watched = sql`(${prebuilds.triggers} @> '["push"]' or ${prebuilds.triggers} @> '["pr"]')`;
  return {
    async ensure(key, parentId) {
      const row = { id: createId("pre"), ...key, key: keyOf(key), parentId: parentId ?? null };
      await db.insert(prebuilds).values(row).onConflictDoNothing();
      const [found] = await db.select().from(prebuilds).where(eq(prebuilds.key, row.key));
      if (!found) throw new Error("a prebuild was removed while it was made");
      return found;
    },
    async byId(id) {
      const [row] = await named().where(eq(prebuilds.id, id));
      return row;
    },
    list: (userId) =>
      named()
        .innerJoin(members, and(eq(members.organisationId, prebuilds.organisationId), eq(members.userId, userId)))
        .where(eq(prebuilds.ownerId, userId))
        .orderBy(asc(prebuilds.createdAt)),
    of: ({ ownerId, organisationId }) =>
      db
        .select()
        .from(prebuilds)
        .where(
          and(eq(prebuilds.ownerId, ownerId), eq(prebuilds.organisationId, organisationId), isNull(prebuilds.parentId)),
        ),
    children: (id) => db.select().from(prebuilds).where(eq(prebuilds.parentId, id)).orderBy(asc(prebuilds.createdAt)),
    ready: ({ ownerId, organisationId, repository }) =>
      db
        .select()
        .from(prebuilds)
        .where(
          and(
            eq(prebuilds.ownerId, ownerId),
            eq(prebuilds.organisationId, organisationId),
            eq(prebuilds.repository, repository),
            isNotNull(prebuilds.builtAt),
          ),
        ),
    async patch(id, patch) {
      const [row] = await db.update(prebuilds).set(patch).where(eq(prebuilds.id, id)).returning();
      return row;
    },
    async want(id, why) {
      await db
        .update(prebuilds)
        .set({ wanted: why, wantedAt: sql`now()` })
        .where(and(eq(prebuilds.id, id), isNull(prebuilds.wanted)));
    },
    async take() {
      const [next] = await db
        .select()
        .from(prebuilds)
        .where(isNotNull(prebuilds.wanted))
        .orderBy(asc(prebuilds.wantedAt))
        .limit(1);
      if (!next) return undefined;
      const [row] = await db
        .update(prebuilds)
        .set({ building: next.wanted, wanted: null, wantedAt: null, problem: null })
        .where(eq(prebuilds.id, next.id))
        .returning();
      return row;
    },
    async interrupted() {
      const rows = await db.select().from(prebuilds).where(isNotNull(prebuilds.building));
      for (const { id, building, wanted } of rows) {
        await db
          .update(prebuilds)
          .set({ building: null, workspaceId: null, wanted: wanted ?? building, wantedAt: sql`now()` })
          .where(eq(prebuilds.id, id));
      }
      return rows;
    },
    due: (now) => db.select().from(prebuilds).where(lte(prebuilds.nextAt, now)),
    unseen: (since) =>
      db
        .select()
        .from(prebuilds)
        .where(
          and(watched, isNull(prebuilds.parentId), or(isNull(prebuilds.lookedAt), lte(prebuilds.lookedAt, since))),
        ),
    old: (now) =>
      db
        .select()
        .from(prebuilds)
        .where(
          and(
            isNull(prebuilds.building),
            lte(sql`${prebuilds.builtAt} + ${prebuilds.ttlSeconds} * interval '1 second'`, now),
          ),
        ),
    async remove(id) {
      await db.delete(prebuilds).where(eq(prebuilds.id, id));
    },
  };
}
