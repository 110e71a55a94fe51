import { createId, DormouseError } from "@dormouse/base";
import type { ApiKey } from "@dormouse/contract";
import { and, asc, eq } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { apiKeys, organisations, users } from "../database/schema.ts";
import type { Actor } from "./actor.ts";
import { hashSecret, newSecret } from "./secrets.ts";

/** Every key begins so; secret scanners and people recognise it. */
export const keyPrefix = "dmk_";

/** Keys of programs. */
export interface ApiKeys {
  /** The key itself is in this answer and nowhere else. */
  create(
    userId: string,
    options: { name: string; expiresInSeconds?: number; organisation?: { id: string; name: string } },
  ): Promise<ApiKey & { key: string }>;
  list(userId: string): Promise<ApiKey[]>;
  /** Works at once. @throws DormouseError `not_found` for a key of nobody or somebody else. */
  revoke(userId: string, id: string): Promise<void>;
  /** Whose key it is; undefined for one that is unknown, expired or revoked. */
  verify(key: string): Promise<Actor | undefined>;
}

/** How long a verified key is believed without asking the database again. */
const cacheMs = 5_000;
const cachedKeys = 10_000;

/** The {@link ApiKeys} of a database. Revoking is seen at once by the process that does it, elsewhere after 5 s. */
export function createApiKeys(db: Database): ApiKeys {
  const cache = new Map<string, { actor: Actor; untilMs: number }>();
  let revocations = 0;
  return {
    async create(userId, { name, expiresInSeconds, organisation }) {
      const key = newSecret(keyPrefix);
      const createdAt = new Date();
      const row = {
        id: createId("key"),
        userId,
        organisationId: organisation?.id ?? null,
        name,
        start: key.slice(0, keyPrefix.length + 4),
        createdAt,
        expiresAt: expiresInSeconds === undefined ? null : new Date(createdAt.getTime() + expiresInSeconds * 1000),
      };
      await db.insert(apiKeys).values({ ...row, hash: hashSecret(key) });
      return { ...toApiKey(row, organisation?.name ?? null), key };
    },
    async list(userId) {
      const rows = await db
        .select({ key: apiKeys, organisation: organisations.name })
        .from(apiKeys)
        .leftJoin(organisations, eq(organisations.id, apiKeys.organisationId))
        .where(eq(apiKeys.userId, userId))
        .orderBy(asc(apiKeys.createdAt));
      return rows.map(({ key, organisation }) => toApiKey(key, organisation));
    },
    async revoke(userId, id) {
      const rows = await db
        .delete(apiKeys)
        .where(and(eq(apiKeys.id, id), eq(apiKeys.userId, userId)))
        .returning({ hash: apiKeys.hash });
      // A verification that is under way may have read the row before; `verify` looks for that.
      for (const row of rows) cache.delete(row.hash);
      revocations++;
      if (rows.length === 0) throw new DormouseError("not_found", `you have no API key ${JSON.stringify(id)}`);
    },
    async verify(key) {
      if (!key.startsWith(keyPrefix)) return undefined;
      const hash = hashSecret(key);
      const cached = cache.get(hash);
      if (cached && cached.untilMs > performance.now()) return cached.actor;
      cache.delete(hash);
      const seen = revocations;
      const [row] = await db
        .select({
          ...{ expiresAt: apiKeys.expiresAt, organisationId: apiKeys.organisationId },
          ...{ userId: users.id, email: users.email, name: users.name },
        })
        .from(apiKeys)
        .innerJoin(users, eq(users.id, apiKeys.userId))
        .where(eq(apiKeys.hash, hash));
      const lifeLeftMs = row?.expiresAt ? row.expiresAt.getTime() - Date.now() : cacheMs;
      if (!row || lifeLeftMs <= 0) return undefined;
      const { userId, email, name, organisationId } = row;
      const actor: Actor = { userId, email, name, via: "key", ...(organisationId !== null && { organisationId }) };
      if (cache.size >= cachedKeys) cache.clear();
      if (seen === revocations) {
        cache.set(hash, { actor, untilMs: performance.now() + Math.min(cacheMs, lifeLeftMs) });
      }
      return actor;
    },
  };
}

function toApiKey(row: Omit<typeof apiKeys.$inferSelect, "hash">, organisation: string | null): ApiKey {
  return {
    id: row.id,
    name: row.name,
    organisation,
    start: row.start,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
  };
}
