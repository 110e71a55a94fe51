import { and, desc, eq, getTableColumns, inArray } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { members, organisations, templates, users } from "../database/schema.ts";

/** A version of a template, with the e-mail address of its owner and the name of its organisation. */
export type TemplateRow = typeof templates.$inferSelect & { owner: string; organisation: string };

/** Templates that people have baked. */
export interface TemplateStore {
  /** The newest version of each, by name, in organisations that a person is in, or in one. */
  list(where: { userId: string } | { organisationId: string }): Promise<TemplateRow[]>;
  /** All versions of one, newest first. */
  versions(name: string): Promise<TemplateRow[]>;
  /** As the next version. */
  add(row: Omit<typeof templates.$inferInsert, "version" | "createdAt">): Promise<number>;
  remove(name: string, version: number): Promise<void>;
  /** Whether a template is made of this workspace: its snapshot is needed when the workspace goes. */
  isMadeOf(workspaceId: string): Promise<boolean>;
}

/** The {@link TemplateStore} on a database. */
export function templateStore(db: Database): TemplateStore {
  const owned = () =>
    db
      .select({ ...getTableColumns(templates), owner: users.email, organisation: organisations.name })
      .from(templates)
      .innerJoin(users, eq(users.id, templates.ownerId))
      .innerJoin(organisations, eq(organisations.id, templates.organisationId));
  return {
    async list(where) {
      const isThere =
        "userId" in where
          ? inArray(
              templates.organisationId,
              db.select({ id: members.organisationId }).from(members).where(eq(members.userId, where.userId)),
            )
          : eq(templates.organisationId, where.organisationId);
      const rows = await owned().where(isThere).orderBy(templates.name, desc(templates.version));
      return rows.filter((row, index) => row.name !== rows[index - 1]?.name);
    },
    versions: async (name) => await owned().where(eq(templates.name, name)).orderBy(desc(templates.version)),
    async add(row) {
      return await db.transaction(async (transaction) => {
        const [newest] = await transaction
          .select({ version: templates.version })
          .from(templates)
          .where(eq(templates.name, row.name))
          .orderBy(desc(templates.version))
          .limit(1);
        const version = (newest?.version ?? 0) + 1;
        await transaction.insert(templates).values({ ...row, version });
        return version;
      });
    },
    async remove(name, version) {
      await db.delete(templates).where(and(eq(templates.name, name), eq(templates.version, version)));
    },
    async isMadeOf(workspaceId) {
      const rows = await db
        .select({ name: templates.name })
        .from(templates)
        .where(eq(templates.workspaceId, workspaceId))
        .limit(1);
      return rows.length > 0;
    },
  };
}
