import { createId, DormouseError } from "@dormouse/base";
import { limits, type OrganisationQuota, type OrganisationRole, personalOrganisation } from "@dormouse/contract";
import { and, asc, count, eq, gt, isNull, lt, or, sql } from "drizzle-orm";
import { hashSecret, newSecret } from "../accounts/secrets.ts";
import { isUniqueViolation } from "../database/errors.ts";
import type { Database } from "../database/open.ts";
import {
  egressLayers,
  invitations,
  members,
  organisations,
  prebuilds,
  templates,
  users,
  workspaces,
} from "../database/schema.ts";

/** An organisation, as somebody in it sees it. */
export interface Membership {
  id: string;
  name: string;
  isPersonal: boolean;
  role: OrganisationRole;
  members: number;
  createdAt: Date;
}

/** An organisation, whoever asks. */
export type OrganisationRow = typeof organisations.$inferSelect;

/** A person in an organisation. */
export interface MemberRow {
  id: string;
  name: string;
  email: string;
  role: OrganisationRole;
  since: Date;
}

/** An invitation without its token. */
export type InvitationRow = Omit<typeof invitations.$inferSelect, "hash" | "inviterId"> & { inviter: string };

/** Begins every invitation's token, so that people and secret scanners tell it from others. */
export const invitationPrefix = "dmi_";

/** Organisations, their people and invitations in the database. Tokens are stored as hashes. */
export interface OrganisationStore {
  /** The person's own, made when there is none yet. */
  personal(userId: string): Promise<Membership>;
  /** All that the person is in: their own first, then by name. */
  list(userId: string): Promise<Membership[]>;
  /** One that the person is in, by name or id; `personal` is their own. */
  find(userId: string, reference: string): Promise<Membership | undefined>;
  /** Any, by name or id; never a person's own by its name. */
  any(reference: string): Promise<OrganisationRow | undefined>;
  /** @throws DormouseError `already_exists`. */
  create(userId: string, name: string): Promise<Membership>;
  /** @throws DormouseError `already_exists`. */
  rename(id: string, name: string): Promise<void>;
  /** @throws DormouseError `failed_precondition` naming what is still in it. */
  remove(id: string): Promise<void>;
  setQuota(id: string, quota: Partial<OrganisationQuota>): Promise<void>;
  members(id: string): Promise<MemberRow[]>;
  /** Who is in it as what, held against changes at the same time: what `decide` throws leaves all as it was. */
  changeMember(
    id: string,
    userId: string,
    decide: (all: readonly MemberRow[]) => OrganisationRole | "none",
  ): Promise<void>;
  /** The token is in this answer and nowhere else. @throws DormouseError `resource_exhausted`. */
  invite(
    id: string,
    of: { inviterId: string; role: OrganisationRole; expiresAt: Date },
  ): Promise<Omit<InvitationRow, "inviter"> & { token: string }>;
  /** Those that count still. */
  invitations(id: string): Promise<InvitationRow[]>;
  removeInvitation(id: string, invitationId: string): Promise<boolean>;
  /** What a token lets somebody join. */
  invitationOf(
    token: string,
  ): Promise<{ organisation: string; role: OrganisationRole; inviter: string; expiresAt: Date } | undefined>;
  /**
   * Uses an invitation: of two who try, one gets in. `who` may make the person who joins, in the same transaction.
   * @returns the organisation's id and the person's; undefined for a token that is wrong, used or too old.
   * @throws DormouseError `already_exists` for a member, `resource_exhausted` in a full organisation; the invitation stays then.
   */
  join(
    token: string,
    who: (transaction: Transaction) => Promise<string>,
  ): Promise<{ organisationId: string; userId: string; role: OrganisationRole } | undefined>;
}

/** A transaction of the database. */
export type Transaction = Parameters<Parameters<Database["transaction"]>[0]>[0];

/** The {@link OrganisationStore} on a database. */
export function organisationStore(db: Database): OrganisationStore {
  const memberships = () =>
    db
      .select({
        id: organisations.id,
        name: organisations.name,
        isPersonal: sql<boolean>`${organisations.personalOf} is not null`,
        role: members.role,
        members: sql<number>`(select count(*)::int from ${members} as everybody where everybody.organisation_id = ${organisations.id})`,
        createdAt: organisations.createdAt,
      })
      .from(members)
      .innerJoin(organisations, eq(organisations.id, members.organisationId));

  const membersOf = (database: Pick<Database, "select">, id: string) =>
    database
      .select({
        id: users.id,
        name: users.name,
        email: users.email,
        role: members.role,
        since: members.createdAt,
      })
      .from(members)
      .innerJoin(users, eq(users.id, members.userId))
      .where(eq(members.organisationId, id))
      .orderBy(asc(members.createdAt), asc(users.email));

  const counting = () => gt(invitations.expiresAt, new Date());

  /** Changes of who is in an organisation come one after the other. */
  async function lock(transaction: Transaction, id: string) {
    await transaction
      .select({ id: organisations.id })
      .from(organisations)
      .where(eq(organisations.id, id))
      .for("update");
  }

  async function personal(userId: string): Promise<Membership> {
    const own = () => memberships().where(and(eq(members.userId, userId), eq(organisations.personalOf, userId)));
    const [known] = await own();
    if (known) return known;
    await db.transaction(async (transaction) => {
      const row = { id: createId("org"), name: personalOrganisation, personalOf: userId };
      await transaction.insert(organisations).values(row).onConflictDoNothing();
      const [made] = await transaction.select().from(organisations).where(eq(organisations.personalOf, userId));
      if (!made) throw new DormouseError("internal", "a person's own organisation could not be made");
      await transaction
        .insert(members)
        .values({ organisationId: made.id, userId, role: "owner" })
        .onConflictDoNothing();
    });
    const [made] = await own();
    if (!made) throw new DormouseError("internal", "a person's own organisation could not be made");
    return made;
  }

  return {
    personal,
    async list(userId) {
      await personal(userId);
      const rows = await memberships().where(eq(members.userId, userId)).orderBy(asc(organisations.name));
      return rows.sort((a, b) => Number(b.isPersonal) - Number(a.isPersonal));
    },
    async find(userId, reference) {
      if (reference === personalOrganisation) return await personal(userId);
      const rows = await memberships().where(
        and(
          eq(members.userId, userId),
          or(eq(organisations.id, reference), and(eq(organisations.name, reference), isNull(organisations.personalOf))),
        ),
      );
      // A name could in theory look like an id.
      return rows.find(({ id }) => id === reference) ?? rows[0];
    },
    async any(reference) {
      const rows = await db
        .select()
        .from(organisations)
        .where(
          or(eq(organisations.id, reference), and(eq(organisations.name, reference), isNull(organisations.personalOf))),
        );
      return rows.find(({ id }) => id === reference) ?? rows[0];
    },
    async create(userId, name) {
      const id = createId("org");
      await refusingTakenNames(name, () =>
        db.transaction(async (transaction) => {
          await transaction.insert(organisations).values({ id, name });
          await transaction.insert(members).values({ organisationId: id, userId, role: "owner" });
        }),
      );
      const [made] = await memberships().where(and(eq(members.userId, userId), eq(organisations.id, id)));
      if (!made) throw new DormouseError("aborted", "the organisation was deleted meanwhile");
      return made;
    },
    async rename(id, name) {
      await refusingTakenNames(name, () => db.update(organisations).set({ name }).where(eq(organisations.id, id)));
    },
    async remove(id) {
      await db.transaction(async (transaction) => {
        await lock(transaction, id);
        const left = [];
        for (const [what, table] of [
          ["workspaces", workspaces],
          ["templates", templates],
          ["prebuilds", prebuilds],
        ] as const) {
          const [row] = await transaction.select({ rows: count() }).from(table).where(eq(table.organisationId, id));
          if (row && row.rows > 0) left.push(`${row.rows} ${what}`);
        }
        if (left.length > 0) {
          throw new DormouseError("failed_precondition", `it still has ${left.join(", ")}; delete them first`);
        }
        const layer = and(eq(egressLayers.scope, "organisation"), eq(egressLayers.name, id));
        await transaction.delete(egressLayers).where(layer);
        await transaction.delete(organisations).where(eq(organisations.id, id));
      });
    },
    async setQuota(id, { workspaces: maxWorkspaces, snapshotBytes: maxSnapshotBytes }) {
      const set = {
        ...(maxWorkspaces !== undefined && { maxWorkspaces }),
        ...(maxSnapshotBytes !== undefined && { maxSnapshotBytes }),
      };
      if (Object.keys(set).length > 0) await db.update(organisations).set(set).where(eq(organisations.id, id));
    },
    members: (id) => membersOf(db, id),
    async changeMember(id, userId, decide) {
      await db.transaction(async (transaction) => {
        await lock(transaction, id);
        const role = decide(await membersOf(transaction, id));
        const which = and(eq(members.organisationId, id), eq(members.userId, userId));
        if (role === "none") await transaction.delete(members).where(which);
        else await transaction.update(members).set({ role }).where(which);
        // What somebody let in who may not any more lets nobody in.
        if (role === "none" || role === "member") {
          await transaction
            .delete(invitations)
            .where(and(eq(invitations.organisationId, id), eq(invitations.inviterId, userId)));
        }
      });
    },
    async invite(id, { inviterId, role, expiresAt }) {
      const token = newSecret(invitationPrefix);
      const row = { id: createId("inv"), organisationId: id, role, createdAt: new Date(), expiresAt };
      await db.transaction(async (transaction) => {
        await lock(transaction, id);
        await transaction.delete(invitations).where(lt(invitations.expiresAt, row.createdAt));
        const [open] = await transaction
          .select({ rows: count() })
          .from(invitations)
          .where(eq(invitations.organisationId, id));
        if (open && open.rows >= limits.invitations) {
          throw new DormouseError(
            "resource_exhausted",
            `there are ${open.rows} open invitations: revoke one that is not needed`,
          );
        }
        await transaction.insert(invitations).values({ ...row, inviterId, hash: hashSecret(token) });
      });
      return { ...row, token };
    },
    async invitations(id) {
      const { organisationId, role, createdAt, expiresAt } = invitations;
      return await db
        .select({ id: invitations.id, organisationId, role, createdAt, expiresAt, inviter: users.email })
        .from(invitations)
        .innerJoin(users, eq(users.id, invitations.inviterId))
        .where(and(eq(organisationId, id), counting()))
        .orderBy(asc(createdAt));
    },
    async removeInvitation(id, invitationId) {
      const removed = await db
        .delete(invitations)
        .where(and(eq(invitations.organisationId, id), eq(invitations.id, invitationId)))
        .returning({ id: invitations.id });
      return removed.length > 0;
    },
    async invitationOf(token) {
      const [row] = await db
        .select({
          organisation: organisations.name,
          role: invitations.role,
          inviter: users.email,
          expiresAt: invitations.expiresAt,
        })
        .from(invitations)
        .innerJoin(organisations, eq(organisations.id, invitations.organisationId))
        .innerJoin(users, eq(users.id, invitations.inviterId))
        .where(and(eq(invitations.hash, hashSecret(token)), counting()));
      return row;
    },
    join: (token, who) =>
      db.transaction(async (transaction) => {
        // Removing and reading are one statement, so that of two who try only one gets in.
        const [used] = await transaction
          .delete(invitations)
          .where(and(eq(invitations.hash, hashSecret(token)), counting()))
          .returning();
        if (!used) return undefined;
        const { organisationId, role } = used;
        await lock(transaction, organisationId);
        const userId = await who(transaction);
        const all = await membersOf(transaction, organisationId);
        if (all.some(({ id }) => id === userId)) {
          throw new DormouseError("already_exists", "you are in this organisation already");
        }
        if (all.length >= limits.organisationMembers) {
          throw new DormouseError(
            "resource_exhausted",
            `this organisation has ${all.length} members, as many as it may`,
          );
        }
        await transaction.insert(members).values({ organisationId, userId, role });
        return { organisationId, userId, role };
      }),
  };
}

async function refusingTakenNames(name: string, work: () => PromiseLike<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isUniqueViolation(error, "organisations_name")) throw error;
    throw new DormouseError("already_exists", `there is an organisation named ${name} already; choose another name`, {
      details: { name },
      cause: error,
    });
  }
}
