import { z } from "zod";
import { limits } from "./limits.ts";

/** Everybody's own organisation is called so; no other is. */
export const personalOrganisation = "personal";

export const organisationName = z
  .string()
  .max(limits.organisationNameLength, `a name has at most ${limits.organisationNameLength} characters`)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "a name has small letters, digits and - between them")
  .refine((name) => name !== personalOrganisation, `${personalOrganisation} is what everybody's own is called`);

/** An organisation's name or id. */
export const organisationRef = z.string().min(1).max(128);

/**
 * owner: everything. admin: its people, its rules, and all of its workspaces, but not inside them. member: their own workspaces in it.
 */
export const organisationRole = z.enum(["owner", "admin", "member"]);
export type OrganisationRole = z.infer<typeof organisationRole>;

/** People who work under common rules: a quota, a key for their snapshots, an egress policy. Each workspace is of one. */
export const organisation = z.object({
  id: z.string(),
  name: z.string(),
  /** Somebody's own, made with their account; nobody else is ever in it. */
  isPersonal: z.boolean(),
  /** What whoever asks is in it. */
  role: organisationRole,
  members: z.number().int(),
  createdAt: z.iso.datetime(),
});
export type Organisation = z.infer<typeof organisation>;

export const organisationMember = z.object({
  /** Of the person. */
  id: z.string(),
  name: z.string(),
  email: z.string(),
  role: organisationRole,
  since: z.iso.datetime(),
});
export type OrganisationMember = z.infer<typeof organisationMember>;

/** A person in an organisation, by id or e-mail address. */
export const memberRef = z.string().min(1).max(320);

export const createInvitation = z.object({
  role: z.enum(["admin", "member"]).default("member"),
  expiresInSeconds: z
    .number()
    .int()
    .min(60, "an invitation lasts at least 60 seconds")
    .max(limits.invitationSeconds, `an invitation lasts at most ${limits.invitationSeconds} seconds (30 days)`)
    .default(7 * 24 * 3600),
});
export type CreateInvitation = z.input<typeof createInvitation>;

/** A link by which one person can join, once. */
export const invitation = z.object({
  id: z.string(),
  role: organisationRole,
  /** Who made it. */
  inviter: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
});
export type Invitation = z.infer<typeof invitation>;

/** What an organisation may have in all; null: as much as there is. */
export const organisationQuota = z.object({
  workspaces: z.number().int().nonnegative().nullable(),
  snapshotBytes: z.number().int().nonnegative().nullable(),
});
export type OrganisationQuota = z.infer<typeof organisationQuota>;

/** What a person has used in an organisation. */
export const memberUsage = z.object({
  email: z.string(),
  /** There are now, and what their snapshots take. */
  workspaces: z.number().int(),
  snapshotBytes: z.number(),
  /** In the last 30 days: how long machines ran, and the same by processors. */
  awakeSeconds: z.number().int(),
  vcpuSeconds: z.number().int(),
});
export type MemberUsage = z.infer<typeof memberUsage>;
