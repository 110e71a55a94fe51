import type { SnapshotRef } from "@dormouse/contract";
import { and, eq, exists, inArray, lt, not, sql } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { builds, imageBuilds, recentDefinitions, templates, workspaces } from "../database/schema.ts";
import type { Definition } from "./definition.ts";

/** Of a repository, what its last workspace came to. */
export interface RecentDefinition {
  definition: Definition;
  folder: string;
  resolvedAt: Date;
}

/** What was built, and what repositories came to last. */
export interface BuildStore {
  /** The snapshot that was built under one of these keys, for the last of them that has one. */
  find(keys: readonly string[]): Promise<{ key: string; snapshot: SnapshotRef } | undefined>;
  save(key: string, snapshot: SnapshotRef): Promise<void>;
  /** A snapshot is gone: nothing can be started from it. */
  forget(key: string): Promise<void>;
  /** Those of these workspaces that are builders whose snapshots are needed. */
  builders(ids: readonly string[]): Promise<Set<string>>;
  /** The digest of the image that was built under a key. */
  findImage(key: string): Promise<string | undefined>;
  saveImage(key: string, digest: string): Promise<void>;
  /** Snapshots that were not started from since then, and that no workspace, template or repository begins with. */
  unused(before: Date): Promise<{ key: string; snapshot: SnapshotRef }[]>;
  /** What repositories came to before then, and images of Dockerfiles that were not asked for since. */
  forgetUnused(before: Date): Promise<void>;
  recent(repository: RepositoryKey): Promise<RecentDefinition | undefined>;
  remember(repository: RepositoryKey, recent: Omit<RecentDefinition, "resolvedAt">): Promise<void>;
}

/** What a definition is looked for by before there is a machine to look in. */
export interface RepositoryKey {
  /** Only to whom it was shown: what was built may hold what is in the repository. */
  ownerId: string;
  /** Only where it was built: another one's key does not open it. */
  organisationId: string;
  repository: string;
  ref: string | null;
  wanted: Definition["wanted"];
}

/** A repository that nobody opened for so long is found anew. */
const recentDays = 30;

/** The {@link BuildStore} on a database. */
export function buildStore(db: Database): BuildStore {
  const nameOf = ({ organisationId, ownerId, repository, ref, wanted }: RepositoryKey) =>
    JSON.stringify([organisationId, ownerId, repository, ref, wanted]);
  return {
    async find(keys) {
      if (keys.length === 0) return undefined;
      const rows = await db
        .update(builds)
        .set({ usedAt: sql`now()` })
        .where(inArray(builds.key, [...keys]))
        .returning();
      const key = keys.findLast((candidate) => rows.some((row) => row.key === candidate));
      const row = rows.find((candidate) => candidate.key === key);
      return row && { key: row.key, snapshot: { workspaceId: row.builderId, id: row.snapshotId } };
    },
    async save(key, { workspaceId: builderId, id: snapshotId }) {
      await db
        .insert(builds)
        .values({ key, builderId, snapshotId })
        .onConflictDoUpdate({ target: builds.key, set: { builderId, snapshotId, createdAt: sql`now()` } });
    },
    async forget(key) {
      await db.delete(builds).where(eq(builds.key, key));
    },
    async builders(ids) {
      if (ids.length === 0) return new Set();
      const rows = await db
        .select({ id: builds.builderId })
        .from(builds)
        .where(inArray(builds.builderId, [...ids]));
      return new Set(rows.map(({ id }) => id));
    },
    async findImage(key) {
      const used = { usedAt: sql`now()` };
      const [row] = await db.update(imageBuilds).set(used).where(eq(imageBuilds.key, key)).returning();
      return row?.digest;
    },
    async saveImage(key, digest) {
      const set = { digest, createdAt: sql`now()`, usedAt: sql`now()` };
      await db.insert(imageBuilds).values({ key, digest }).onConflictDoUpdate({ target: imageBuilds.key, set });
    },
    async unused(before) {
      const isStartIn = (table: typeof workspaces | typeof templates | typeof recentDefinitions) =>
        exists(
          db
            .select({ one: sql`1` })
            .from(table)
            .where(
              and(
                eq(sql`${table.definition} -> 'start' -> 'snapshot' ->> 'workspaceId'`, builds.builderId),
                eq(sql`${table.definition} -> 'start' -> 'snapshot' ->> 'id'`, builds.snapshotId),
              ),
            ),
        );
      const starts = [workspaces, templates, recentDefinitions].map((table) => not(isStartIn(table)));
      const rows = await db
        .select()
        .from(builds)
        .where(and(lt(builds.usedAt, before), ...starts));
      return rows.map(({ key, builderId, snapshotId }) => ({
        key,
        snapshot: { workspaceId: builderId, id: snapshotId },
      }));
    },
    async forgetUnused(before) {
      await db.delete(recentDefinitions).where(lt(recentDefinitions.resolvedAt, before));
      await db.delete(imageBuilds).where(lt(imageBuilds.usedAt, before));
    },
    async recent(repository) {
      const rows = await db
        .select()
        .from(recentDefinitions)
        .where(eq(recentDefinitions.key, nameOf(repository)));
      return rows[0];
    },
    async remember(repository, { definition, folder }) {
      const row = { definition, folder, resolvedAt: sql`now()` };
      await db
        .insert(recentDefinitions)
        .values({ key: nameOf(repository), ...row })
        .onConflictDoUpdate({ target: recentDefinitions.key, set: row });
      await db
        .delete(recentDefinitions)
        .where(lt(recentDefinitions.resolvedAt, sql`now() - ${recentDays} * interval '1 day'`));
    },
  };
}
