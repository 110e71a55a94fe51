import { and, asc, count, eq, inArray } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { secrets } from "../database/schema.ts";

/** A secret as it stands in the database. */
export type SecretRow = typeof secrets.$inferSelect;

/** Secrets in the database; their values are sealed. */
export interface SecretStore {
  /** By name. */
  list(organisationId: string): Promise<SecretRow[]>;
  /** Those of several organisations. */
  of(organisationIds: readonly string[]): Promise<SecretRow[]>;
  find(organisationId: string, name: string): Promise<SecretRow | undefined>;
  count(organisationId: string): Promise<number>;
  /** Writes it, whether or not it was there. */
  save(row: Omit<SecretRow, "createdAt" | "updatedAt">): Promise<SecretRow>;
  /** Whether it was there. */
  remove(organisationId: string, name: string): Promise<boolean>;
}

/** The {@link SecretStore} of a database. */
export function secretStore(db: Database): SecretStore {
  const is = (organisationId: string, name: string) =>
    and(eq(secrets.organisationId, organisationId), eq(secrets.name, name));
  return {
    list: (organisationId) =>
      db.select().from(secrets).where(eq(secrets.organisationId, organisationId)).orderBy(asc(secrets.name)),
    of: (organisationIds) =>
      db
        .select()
        .from(secrets)
        .where(inArray(secrets.organisationId, [...organisationIds])),
    async find(organisationId, name) {
      const [row] = await db.select().from(secrets).where(is(organisationId, name));
      return row;
    },
    async count(organisationId) {
      const [row] = await db.select({ count: count() }).from(secrets).where(eq(secrets.organisationId, organisationId));
      return row?.count ?? 0;
    },
    async save(row) {
      const { hosts, repositories, isInsecure, sealed } = row;
      const [saved] = await db
        .insert(secrets)
        .values(row)
        .onConflictDoUpdate({
          target: secrets.id,
          set: { hosts, repositories, isInsecure, sealed, updatedAt: new Date() },
        })
        .returning();
      if (!saved) throw new Error("a secret was not written");
      return saved;
    },
    async remove(organisationId, name) {
      const removed = await db.delete(secrets).where(is(organisationId, name)).returning({ id: secrets.id });
      return removed.length > 0;
    },
  };
}
