import { DormouseError, type Logger } from "@dormouse/base";
import {
  type Allowance,
  type createInvitation,
  type Invitation,
  limits,
  type MemberUsage,
  type Organisation,
  type OrganisationMember,
  type OrganisationQuota,
  type OrganisationRole,
} from "@dormouse/contract";
import type { z } from "zod";
import { type Actor, actsIn, requirePerson } from "../accounts/actor.ts";
import type { Quota } from "../workspaces/quota.ts";
import { findOrganisation } from "./find.ts";
import type { MemberRow, Membership, OrganisationStore } from "./store.ts";
import type { Usage } from "./usage.ts";

/** What people and programs can do with organisations. One that somebody is not in is `not_found`. */
export interface OrganisationService {
  list(actor: Actor): Promise<Organisation[]>;
  /** @throws DormouseError `already_exists`, `resource_exhausted` for somebody who owns too many. */
  create(actor: Actor, name: string): Promise<Organisation>;
  get(actor: Actor, reference: string): Promise<Organisation>;
  rename(actor: Actor, reference: string, name: string): Promise<Organisation>;
  /** @throws DormouseError `failed_precondition` naming what is still in it. */
  delete(actor: Actor, reference: string): Promise<void>;
  members(actor: Actor, reference: string): Promise<OrganisationMember[]>;
  setRole(actor: Actor, reference: string, member: string, role: OrganisationRole): Promise<OrganisationMember>;
  /** Somebody else, or oneself. @throws DormouseError `failed_precondition` for the last owner. */
  removeMember(actor: Actor, reference: string, member: string): Promise<void>;
  /** The link's token is in this answer and nowhere else. */
  invite(
    actor: Actor,
    reference: string,
    request: z.output<typeof createInvitation>,
  ): Promise<Invitation & { url: string }>;
  invitations(actor: Actor, reference: string): Promise<Invitation[]>;
  revokeInvitation(actor: Actor, reference: string, id: string): Promise<void>;
  /** @throws DormouseError `not_found` for a token that is wrong, used or too old. */
  join(actor: Actor, token: string): Promise<Organisation>;
  quota(actor: Actor, reference: string): Promise<Allowance>;
  /** @throws DormouseError `permission_denied` for who is not the administrator. */
  setQuota(actor: Actor, reference: string, quota: Partial<OrganisationQuota>): Promise<Allowance>;
  usage(actor: Actor, reference: string): Promise<MemberUsage[]>;
}

/** Makes the {@link OrganisationService}. */
export function organisationService(options: {
  store: OrganisationStore;
  quota: Pick<Quota, "ofOrganisation">;
  usage: Usage;
  /** Somebody is in it no more: what they had there is nobody's to open. */
  onLeave: (organisationId: string, userId: string) => Promise<void>;
  administratorId: string;
  publicUrl: string;
  log: Logger;
}): OrganisationService {
  const { store, quota, usage, onLeave, administratorId, publicUrl, log } = options;

  const find = (actor: Actor, reference: string) => findOrganisation(store, actor, { reference });

  /** @throws DormouseError `failed_precondition` for a person's own: nothing of it can be changed. */
  async function findShared(actor: Actor, reference: string, what: string, roles: readonly OrganisationRole[]) {
    const found = await find(actor, reference);
    if (found.isPersonal) {
      throw new DormouseError(
        "failed_precondition",
        `${found.name} is your own organisation: it has no other members, and stays as it is; create one to share`,
      );
    }
    requireRole(found, what, roles);
    return found;
  }

  const managers = ["owner", "admin"] as const;

  /** Everybody's own by its id, and all others: for the administrator, who need not be in them. */
  async function findAny(actor: Actor, reference: string) {
    const isAdministrator = actor.userId === administratorId && actor.organisationId === undefined;
    // A name that they are in themselves comes first: everybody has one that is called personal.
    const own = isAdministrator ? await store.find(actor.userId, reference) : undefined;
    return own ?? (isAdministrator ? await store.any(reference) : undefined) ?? (await find(actor, reference));
  }

  function tell(what: string, organisation: Pick<Membership, "id">, actor: Actor, more: Record<string, unknown> = {}) {
    log.info(`organisation: ${what}`, { organisationId: organisation.id, by: actor.userId, ...more });
  }

  return {
    list: async (actor) => (await store.list(actor.userId)).filter(({ id }) => actsIn(actor, id)).map(toOrganisation),
    async create(actor, name) {
      requirePerson(actor);
      const own = (await store.list(actor.userId)).filter(({ role, isPersonal }) => role === "owner" && !isPersonal);
      if (own.length >= limits.organisationsOfOwner) {
        throw new DormouseError(
          "resource_exhausted",
          `you own ${own.length} organisations, as many as one person may: delete one that is not needed`,
        );
      }
      const made = await store.create(actor.userId, name);
      tell("created", made, actor, { name });
      return toOrganisation(made);
    },
    get: async (actor, reference) => toOrganisation(await find(actor, reference)),
    async rename(actor, reference, name) {
      const found = await findShared(actor, reference, "rename it", managers);
      await store.rename(found.id, name);
      tell("renamed", found, actor, { from: found.name, name });
      return toOrganisation({ ...found, name });
    },
    async delete(actor, reference) {
      const found = await findShared(actor, reference, "delete it", ["owner"]);
      await store.remove(found.id);
      tell("deleted", found, actor, { name: found.name });
    },
    async members(actor, reference) {
      return (await store.members((await find(actor, reference)).id)).map(toMember);
    },
    async setRole(actor, reference, member, role) {
      const found = await findShared(actor, reference, "change roles", managers);
      const { id: userId } = memberOf(found, await store.members(found.id), member);
      let changed: MemberRow | undefined;
      await store.changeMember(found.id, userId, (all) => {
        const before = memberOf(found, all, userId);
        const by = memberOf(found, all, actor.userId);
        if (before.role === "owner" || role === "owner")
          requireRole({ ...found, role: by.role }, "make or unmake owners", ["owner"]);
        requireRole({ ...found, role: by.role }, "change roles", managers);
        if (role !== "owner") checkOwnerStays(found, all, before);
        changed = { ...before, role };
        return role;
      });
      if (!changed) throw new DormouseError("internal", "no role was changed");
      tell("role changed", found, actor, { userId, role });
      return toMember(changed);
    },
    async removeMember(actor, reference, member) {
      const found = await findShared(actor, reference, "leave it", [...managers, "member"]);
      const { id: userId } = memberOf(found, await store.members(found.id), member);
      await store.changeMember(found.id, userId, (all) => {
        const before = memberOf(found, all, userId);
        const by = memberOf(found, all, actor.userId);
        const mayRemove = by.role === "owner" || userId === actor.userId || before.role !== "owner";
        if (userId !== actor.userId) requireRole({ ...found, role: by.role }, "remove members", managers);
        if (!mayRemove) requireRole({ ...found, role: by.role }, "remove owners", ["owner"]);
        checkOwnerStays(found, all, before);
        return "none";
      });
      tell("member removed", found, actor, { userId });
      await onLeave(found.id, userId);
    },
    async invite(actor, reference, { role, expiresInSeconds }) {
      const found = await findShared(actor, reference, "invite people", managers);
      const expiresAt = new Date(Date.now() + expiresInSeconds * 1000);
      const { token, ...made } = await store.invite(found.id, { inviterId: actor.userId, role, expiresAt });
      tell("invitation made", found, actor, { invitationId: made.id, role });
      return { ...toInvitation({ ...made, inviter: actor.email }), url: `${publicUrl}/join#token=${token}` };
    },
    async invitations(actor, reference) {
      const found = await findShared(actor, reference, "see its invitations", managers);
      return (await store.invitations(found.id)).map(toInvitation);
    },
    async revokeInvitation(actor, reference, id) {
      const found = await findShared(actor, reference, "revoke invitations", managers);
      if (!(await store.removeInvitation(found.id, id))) {
        throw new DormouseError("not_found", `organisation ${found.name} has no invitation ${JSON.stringify(id)}`);
      }
      tell("invitation revoked", found, actor, { invitationId: id });
    },
    async join(actor, token) {
      requirePerson(actor);
      const joined = await store.join(token, async () => actor.userId);
      if (!joined) throw new DormouseError("not_found", spentInvitation);
      tell("joined", { id: joined.organisationId }, actor, { role: joined.role });
      return toOrganisation(await find(actor, joined.organisationId));
    },
    async quota(actor, reference) {
      return await quota.ofOrganisation((await findAny(actor, reference)).id);
    },
    async setQuota(actor, reference, limits) {
      const found = await findAny(actor, reference);
      if (requirePerson(actor).userId !== administratorId) {
        throw new DormouseError("permission_denied", "the quota of an organisation is for the administrator to set");
      }
      await store.setQuota(found.id, limits);
      tell("quota set", found, actor, { ...limits });
      return await quota.ofOrganisation(found.id);
    },
    async usage(actor, reference) {
      const found = await find(actor, reference);
      requireRole(found, "see what people have used", managers);
      return await usage.of(found.id);
    },
  };
}

/** What a link says that lets nobody in any more. */
export const spentInvitation = "this invitation was used, revoked or is too old; ask for another one";

/** @throws DormouseError `permission_denied` saying who may. */
export function requireRole(
  { name, role }: Pick<Membership, "name" | "role">,
  what: string,
  roles: readonly OrganisationRole[],
): void {
  if (roles.includes(role)) return;
  const who = roles.map((each) => `${each}s`).join(" and ");
  throw new DormouseError(
    "permission_denied",
    `only ${who} of organisation ${name} may ${what}; you are ${article(role)}`,
  );
}

const article = (role: OrganisationRole) => (role === "member" ? "a member" : `an ${role}`);

function memberOf({ name }: Membership, all: readonly MemberRow[], reference: string): MemberRow {
  const found = all.find(({ id, email }) => id === reference || email === reference);
  if (found) return found;
  throw new DormouseError("not_found", `organisation ${name} has no member ${JSON.stringify(reference)}`);
}

function checkOwnerStays({ name }: Membership, all: readonly MemberRow[], before: MemberRow): void {
  if (before.role !== "owner" || all.some(({ id, role }) => id !== before.id && role === "owner")) return;
  throw new DormouseError(
    "failed_precondition",
    `${before.email} is the last owner of organisation ${name}: make somebody else an owner first, or delete it`,
  );
}

function toOrganisation({ createdAt, ...row }: Membership): Organisation {
  return { ...row, createdAt: createdAt.toISOString() };
}

function toMember({ since, ...row }: MemberRow): OrganisationMember {
  return { ...row, since: since.toISOString() };
}

function toInvitation(row: { id: string; role: OrganisationRole; inviter: string; createdAt: Date; expiresAt: Date }) {
  const { id, role, inviter, createdAt, expiresAt } = row;
  return { id, role, inviter, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}
