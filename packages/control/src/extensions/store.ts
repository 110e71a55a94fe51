import type { EditorExtension } from "@dormouse/contract";
import { and, asc, eq } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { editorExtensions } from "../database/schema.ts";

/** An extension as its row says. */
export interface ExtensionRow extends Omit<EditorExtension, "url" | "installedAt"> {
  userId: string;
  installedAt: Date;
}

/** The rows of extensions. */
export interface ExtensionStore {
  /** Of one person, in the order of their names. */
  of(userId: string): Promise<ExtensionRow[]>;
  /** All ids. */
  ids(): Promise<Set<string>>;
  /** Puts it in the place of any other version that the person has. @returns the id of what it replaced. */
  put(row: Omit<ExtensionRow, "installedAt">): Promise<string | undefined>;
  /** @returns whether there was one. */
  saveMetadata(userId: string, id: string, metadata: Record<string, unknown>): Promise<boolean>;
  /** @returns whether there was one. */
  remove(userId: string, id: string): Promise<boolean>;
}

/** The {@link ExtensionStore} of a database. */
export function extensionStore(db: Database): ExtensionStore {
  const table = editorExtensions;
  const own = (userId: string, id: string) => and(eq(table.userId, userId), eq(table.id, id));
  return {
    async of(userId) {
      const rows = await db.select().from(table).where(eq(table.userId, userId)).orderBy(asc(table.key));
      return rows.map(toRow);
    },
    async ids() {
      const rows = await db.select({ id: table.id }).from(table);
      return new Set(rows.map(({ id }) => id));
    },
    put(row) {
      const { userId, identifier, manifest, translations, metadata, ...rest } = row;
      const key = identifier.toLowerCase();
      const values = {
        ...rest,
        ...{ userId, key, installedAt: new Date() },
        manifest: JSON.stringify(manifest),
        translations: translations === null ? null : JSON.stringify(translations),
        metadata: JSON.stringify(metadata),
      };
      return db.transaction(async (tx) => {
        const is = and(eq(table.userId, userId), eq(table.key, key));
        const [former] = await tx.delete(table).where(is).returning({ id: table.id });
        await tx.insert(table).values(values);
        return former?.id;
      });
    },
    async saveMetadata(userId, id, metadata) {
      const changed = await db
        .update(table)
        .set({ metadata: JSON.stringify(metadata) })
        .where(own(userId, id))
        .returning({ id: table.id });
      return changed.length > 0;
    },
    async remove(userId, id) {
      return (await db.delete(table).where(own(userId, id)).returning({ id: table.id })).length > 0;
    },
  };
}

function toRow({ key: _, ...row }: typeof editorExtensions.$inferSelect): ExtensionRow {
  const manifest = JSON.parse(row.manifest) as { publisher: string; name: string } & Record<string, unknown>;
  return {
    ...row,
    identifier: `${manifest.publisher}.${manifest.name}`,
    manifest,
    translations: row.translations === null ? null : (JSON.parse(row.translations) as Record<string, unknown>),
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  };
}
