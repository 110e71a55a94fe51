import type {
  Dotfiles,
  EditorExtension,
  EgressLayer,
  OrganisationRole,
  PortProtocol,
  PortVisibility,
} from "@dormouse/contract";
import type { PrebuildTrigger } from "@dormouse/devcontainer";
import { sql } from "drizzle-orm";
import {
  type AnyPgColumn,
  bigint,
  bigserial,
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
} from "drizzle-orm/pg-core";
import type { Definition } from "../definitions/definition.ts";

const at = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

// Accounts. The columns of the first four tables are those that better-auth asks for.

/** People. */
export const users = pgTable("users", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  email: text("email").notNull().unique(),
  emailVerified: boolean("email_verified").notNull().default(false),
  image: text("image"),
  createdAt: at("created_at").notNull().defaultNow(),
  updatedAt: at("updated_at").notNull().defaultNow(),
});

/** Signed-in browsers. */
export const sessions = pgTable(
  "sessions",
  {
    id: text("id").primaryKey(),
    expiresAt: at("expires_at").notNull(),
    token: text("token").notNull().unique(),
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
    ipAddress: text("ip_address"),
    userAgent: text("user_agent"),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
  },
  (table) => [index("sessions_user").on(table.userId)],
);

/** How a person can prove who they are: the password's hash, later identities at other providers. */
export const accounts = pgTable(
  "accounts",
  {
    id: text("id").primaryKey(),
    accountId: text("account_id").notNull(),
    providerId: text("provider_id").notNull(),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    accessToken: text("access_token"),
    refreshToken: text("refresh_token"),
    idToken: text("id_token"),
    accessTokenExpiresAt: at("access_token_expires_at"),
    refreshTokenExpiresAt: at("refresh_token_expires_at"),
    scope: text("scope"),
    password: text("password"),
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
  },
  (table) => [index("accounts_user").on(table.userId)],
);

/** Short-lived values of better-auth. */
export const verifications = pgTable(
  "verifications",
  {
    id: text("id").primaryKey(),
    identifier: text("identifier").notNull(),
    value: text("value").notNull(),
    expiresAt: at("expires_at").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
  },
  (table) => [index("verifications_identifier").on(table.identifier)],
);

/** People who work under common rules. */
export const organisations = pgTable(
  "organisations",
  {
    id: text("id").primaryKey(),
    name: text("name").notNull(),
    /** Whose own it is; null: it may have any members. */
    personalOf: text("personal_of")
      .unique()
      .references(() => users.id, { onDelete: "cascade" }),
    /** What it may have in all; null: as much as there is. */
    maxWorkspaces: integer("max_workspaces"),
    maxSnapshotBytes: bigint("max_snapshot_bytes", { mode: "number" }),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [uniqueIndex("organisations_name").on(table.name).where(sql`personal_of is null`)],
);

const ofOrganisation = (onDelete: "cascade" | "restrict") =>
  text("organisation_id")
    .notNull()
    .references(() => organisations.id, { onDelete });

/** Who is in which organisation, and as what. */
export const members = pgTable(
  "members",
  {
    organisationId: ofOrganisation("cascade"),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    role: text("role").$type<OrganisationRole>().notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.organisationId, table.userId] }), index("members_user").on(table.userId)],
);

/** One-time links by which people join. A row is removed by being used. */
export const invitations = pgTable(
  "invitations",
  {
    id: text("id").primaryKey(),
    organisationId: ofOrganisation("cascade"),
    inviterId: text("inviter_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    role: text("role").$type<OrganisationRole>().notNull(),
    /** SHA-256 of the token, hex. */
    hash: text("hash").notNull().unique(),
    createdAt: at("created_at").notNull().defaultNow(),
    expiresAt: at("expires_at").notNull(),
  },
  (table) => [index("invitations_organisation").on(table.organisationId)],
);

/** Keys of programs. The key itself is nowhere; 256 random bits need no slow hash. */
export const apiKeys = pgTable(
  "api_keys",
  {
    id: text("id").primaryKey(),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    /** The one that it is for; null: it can do what the person can. */
    organisationId: text("organisation_id").references(() => organisations.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    /** First characters, to tell keys apart. */
    start: text("start").notNull(),
    /** SHA-256 of the key, hex. */
    hash: text("hash").notNull().unique(),
    createdAt: at("created_at").notNull().defaultNow(),
    expiresAt: at("expires_at"),
  },
  (table) => [index("api_keys_user").on(table.userId)],
);

/** One-time links that sign a browser in. A row is removed by being used. */
export const signInLinks = pgTable("sign_in_links", {
  /** SHA-256 of the token, hex. */
  hash: text("hash").primaryKey(),
  userId: text("user_id")
    .notNull()
    .references(() => users.id, { onDelete: "cascade" }),
  expiresAt: at("expires_at").notNull(),
});

/** Settings of the editor that follow a person. */
export const userSettings = pgTable("user_settings", {
  userId: text("user_id")
    .primaryKey()
    .references(() => users.id, { onDelete: "cascade" }),
  settings: text("settings").notNull().default(""),
  keybindings: text("keybindings").notNull().default(""),
  updatedAt: at("updated_at").notNull().defaultNow(),
});

/** The editor's extensions of people. Their packages lie in the data folder. */
export const editorExtensions = pgTable(
  "editor_extensions",
  {
    /** Cannot be guessed: whoever knows it can read the files. */
    id: text("id").primaryKey(),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    /** `publisher.name` in small letters. */
    key: text("key").notNull(),
    version: text("version").notNull(),
    bytes: bigint("bytes", { mode: "number" }).notNull(),
    source: text("source").$type<EditorExtension["source"]>().notNull(),
    /** JSON as text: what others write may hold what `jsonb` does not take. */
    manifest: text("manifest").notNull(),
    translations: text("translations"),
    metadata: text("metadata").notNull().default("{}"),
    installedAt: at("installed_at").notNull().defaultNow(),
  },
  (table) => [uniqueIndex("editor_extensions_user_key").on(table.userId, table.key)],
);

/** What people want in each of their workspaces. */
export const personalSetups = pgTable("personal_setups", {
  userId: text("user_id")
    .primaryKey()
    .references(() => users.id, { onDelete: "cascade" }),
  dotfiles: jsonb("dotfiles").$type<Dotfiles>(),
  shell: text("shell"),
  gitName: text("git_name"),
  gitEmail: text("git_email"),
  updatedAt: at("updated_at").notNull().defaultNow(),
});

/** Single values of the whole installation. */
export const installation = pgTable("installation", {
  name: text("name").primaryKey(),
  value: text("value").notNull(),
});

/** What an installation, organisations, templates, repositories and workspaces say of what may leave machines. */
export const egressLayers = pgTable(
  "egress_layers",
  {
    scope: text("scope").$type<"installation" | "organisation" | "template" | "repository" | "workspace">().notNull(),
    /** The id of the organisation or workspace, the template's name, the repository's address; empty for the installation. */
    name: text("name").notNull(),
    layer: jsonb("layer").$type<EgressLayer>().notNull(),
    updatedAt: at("updated_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.scope, table.name] })],
);

/** Values that machines never see. Nobody reads one again but control, for hosts. */
export const secrets = pgTable(
  "secrets",
  {
    id: text("id").primaryKey(),
    /** A person's own are those of their own. */
    organisationId: ofOrganisation("cascade"),
    name: text("name").notNull(),
    /** Where the value may go. */
    hosts: jsonb("hosts").$type<string[]>().notNull(),
    /** Addresses of the repositories whose workspaces have it; null: all. */
    repositories: jsonb("repositories").$type<string[]>(),
    isInsecure: boolean("is_insecure").notNull(),
    /** The value, encrypted; see `Seal`. */
    sealed: text("sealed").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    updatedAt: at("updated_at").notNull().defaultNow(),
  },
  (table) => [uniqueIndex("secrets_name").on(table.organisationId, table.name)],
);

// Workspaces.

/** What users have; the one truth about it. */
export const workspaces = pgTable(
  "workspaces",
  {
    id: text("id").primaryKey(),
    ownerId: text("owner_id")
      .notNull()
      .references(() => users.id, { onDelete: "restrict" }),
    organisationId: ofOrganisation("restrict"),
    name: text("name").notNull(),
    state: text("state").notNull(),
    /** One line; why it failed, or what it waits for. */
    reason: text("reason"),
    /** The failure as `{ code, message, details }`, for whoever waits for it. */
    failure: jsonb("failure"),
    /** Counts the machines this workspace had; a host refuses what is older than it knows. */
    generation: integer("generation").notNull().default(1),
    template: text("template").notNull(),
    repository: text("repository"),
    ref: text("ref"),
    folder: text("folder").notNull(),
    /** Whether the repository is there: preparing is over for good. */
    prepared: boolean("prepared").notNull(),
    vcpus: integer("vcpus").notNull(),
    memoryMib: integer("memory_mib").notNull(),
    diskGib: integer("disk_gib").notNull(),
    /** Environment of every user process; given again at each start. */
    env: jsonb("env").notNull(),
    isolation: text("isolation"),
    /** Idle for so long, it is put to sleep; null: never. */
    hibernateAfterSeconds: integer("hibernate_after_seconds"),
    /** Asleep for so long, it is deleted; null: never. */
    deleteAfterSeconds: integer("delete_after_seconds"),
    /** Since when it sleeps; null while it does not. */
    asleepSince: at("asleep_since"),
    /** The snapshot that the next waking goes back to; null: where it fell asleep. */
    restoreSnapshot: text("restore_snapshot"),
    /** The snapshot it began as, when it is a fork. */
    sourceWorkspace: text("source_workspace"),
    sourceSnapshot: text("source_snapshot"),
    /** In the names of its ports' origins; null: its id. Its own for as long as it is there, also when it is renamed. */
    address: text("address").unique(),
    /** Whether requests to its ports wake it. */
    wakeOnHttp: boolean("wake_on_http").notNull().default(true),
    wakeOnWebSocket: boolean("wake_on_web_socket").notNull().default(true),
    /** What the repository says of its workspace; null: nothing was looked for. */
    definition: jsonb("definition").$type<Definition>(),
    /** Of what its owner wants in each workspace: null: nothing comes, `wanted`: it is still to come, `brought`: it is there. */
    personalSetup: text("personal_setup"),
    createdAt: at("created_at").notNull().defaultNow(),
    startedAt: at("started_at"),
    expiresAt: at("expires_at"),
  },
  (table) => [
    // What is being deleted gives its name back at once.
    uniqueIndex("workspaces_name").on(table.ownerId, table.name).where(sql`state <> 'deleting'`),
    index("workspaces_organisation").on(table.organisationId),
    index("workspaces_expiry").on(table.expiresAt),
    index("workspaces_state").on(table.state),
  ],
);

// Forwarded ports.

/**
 * Whose a name of an origin is. It stays theirs when the workspace has gone: what their browsers keep of it must not meet
 * somebody else's programs.
 */
export const portAddresses = pgTable("port_addresses", {
  label: text("label").primaryKey(),
  ownerId: text("owner_id")
    .notNull()
    .references(() => users.id, { onDelete: "cascade" }),
});

const ofWorkspace = () =>
  text("workspace_id")
    .notNull()
    .references(() => workspaces.id, { onDelete: "cascade" });

/** What was set for a port; null: as the definition says. */
export const portSettings = pgTable(
  "port_settings",
  {
    workspaceId: ofWorkspace(),
    port: integer("port").notNull(),
    visibility: text("visibility").$type<PortVisibility>(),
    label: text("label"),
    protocol: text("protocol").$type<PortProtocol>(),
    isForwarded: boolean("is_forwarded"),
  },
  (table) => [primaryKey({ columns: [table.workspaceId, table.port] })],
);

/** Links that open a port for whoever has them. The token itself is nowhere. */
export const portLinks = pgTable(
  "port_links",
  {
    id: text("id").primaryKey(),
    workspaceId: ofWorkspace(),
    port: integer("port").notNull(),
    /** SHA-256 of the token, hex. */
    hash: text("hash").notNull().unique(),
    createdAt: at("created_at").notNull().defaultNow(),
    expiresAt: at("expires_at").notNull(),
  },
  (table) => [index("port_links_port").on(table.workspaceId, table.port)],
);

/** What takes a signed-in browser to a port's origin, once. */
export const portTickets = pgTable("port_tickets", {
  /** SHA-256 of the ticket, hex. */
  hash: text("hash").primaryKey(),
  sessionId: text("session_id")
    .notNull()
    .references(() => sessions.id, { onDelete: "cascade" }),
  workspaceId: ofWorkspace(),
  port: integer("port").notNull(),
  /** SHA-256 of what the browser keeps until it comes back, hex. */
  challenge: text("challenge").notNull(),
  expiresAt: at("expires_at").notNull(),
});

/** A browser at a port's origin. It ends with the sign-in or the link that it came by. */
export const portSessions = pgTable(
  "port_sessions",
  {
    /** SHA-256 of the cookie, hex. */
    hash: text("hash").primaryKey(),
    sessionId: text("session_id").references(() => sessions.id, { onDelete: "cascade" }),
    linkId: text("link_id").references(() => portLinks.id, { onDelete: "cascade" }),
    workspaceId: ofWorkspace(),
    port: integer("port").notNull(),
    expiresAt: at("expires_at").notNull(),
  },
  (table) => [index("port_sessions_session").on(table.sessionId), index("port_sessions_link").on(table.linkId)],
);

/** What machines can be started from because it was built once: snapshots of builders, by all that went into them. */
export const builds = pgTable(
  "builds",
  {
    key: text("key").primaryKey(),
    /** The builder's machine is gone; its snapshots stand under this name on the host. */
    builderId: text("builder_id").notNull(),
    snapshotId: text("snapshot_id").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
    usedAt: at("used_at").notNull().defaultNow(),
  },
  (table) => [index("builds_builder").on(table.builderId)],
);

/** Images that were built of Dockerfiles. */
export const imageBuilds = pgTable("image_builds", {
  /** Of all that went in. */
  key: text("key").primaryKey(),
  /** What the host knows it by. */
  digest: text("digest").notNull(),
  createdAt: at("created_at").notNull().defaultNow(),
  usedAt: at("used_at").notNull().defaultNow(),
});

/** What a repository's definition came to last, so that its next workspace starts from that before anybody has looked. */
export const recentDefinitions = pgTable("recent_definitions", {
  /** Address, ref and which of its definitions. */
  key: text("key").primaryKey(),
  definition: jsonb("definition").$type<Definition>().notNull(),
  folder: text("folder").notNull(),
  resolvedAt: at("resolved_at").notNull().defaultNow(),
});

/** Machines that were set up once and kept, for workspaces to start from. */
export const templates = pgTable(
  "templates",
  {
    name: text("name").notNull(),
    /** From 1; the highest is what new workspaces start from. */
    version: integer("version").notNull(),
    ownerId: text("owner_id")
      .notNull()
      .references(() => users.id, { onDelete: "restrict" }),
    /** Only its workspaces start from it. */
    organisationId: ofOrganisation("restrict"),
    /** The workspace that it was is gone; its snapshot stands under its id on the host. */
    workspaceId: text("workspace_id").notNull(),
    snapshotId: text("snapshot_id").notNull(),
    definition: jsonb("definition").$type<Definition>().notNull(),
    repository: text("repository"),
    ref: text("ref"),
    folder: text("folder").notNull(),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.name, table.version] }), index("templates_workspace").on(table.workspaceId)],
);

/** Repositories that are prebuilt for somebody, and what came of it. Its machine is a template, see `prebuildTemplate`. */
export const prebuilds = pgTable(
  "prebuilds",
  {
    id: text("id").primaryKey(),
    ownerId: text("owner_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    organisationId: ofOrganisation("restrict"),
    repository: text("repository").notNull(),
    /** Branch or tag; null: the repository's own branch. */
    ref: text("ref"),
    /** Which of its definitions; null: the usual one. */
    devcontainer: text("devcontainer"),
    /** Organisation, owner, repository, ref and definition: there is one of each. */
    key: text("key").notNull().unique(),
    /** Of a pull request: that of its repository, which goes before it. */
    parentId: text("parent_id").references((): AnyPgColumn => prebuilds.id, { onDelete: "cascade" }),
    /** As the file has them that was built last. */
    triggers: jsonb("triggers").$type<PrebuildTrigger[]>().notNull().default([]),
    ttlSeconds: integer("ttl_seconds"),
    /** Why one is to be made; null: none is. */
    wanted: text("wanted"),
    wantedAt: at("wanted_at"),
    /** Why one is being made, and the workspace that becomes it; null: none is. */
    building: text("building"),
    workspaceId: text("workspace_id"),
    /** Of the one that is there; null: there is none. */
    commit: text("commit"),
    builtAt: at("built_at"),
    /** Why the last was not made. */
    problem: text("problem"),
    endedAt: at("ended_at"),
    /** What the repository's refs pointed at when they were looked at last. */
    refs: jsonb("refs").$type<Record<string, string>>(),
    lookedAt: at("looked_at"),
    /** When its schedule wants the next one. */
    nextAt: at("next_at"),
    createdAt: at("created_at").notNull().defaultNow(),
  },
  (table) => [index("prebuilds_repository").on(table.ownerId, table.repository)],
);

/** Every state a workspace went through, in order. */
export const transitions = pgTable(
  "transitions",
  {
    id: bigserial("id", { mode: "number" }).primaryKey(),
    workspaceId: text("workspace_id")
      .notNull()
      .references(() => workspaces.id, { onDelete: "cascade" }),
    at: at("at").notNull().defaultNow(),
    state: text("state").notNull(),
    reason: text("reason"),
    generation: integer("generation").notNull(),
  },
  (table) => [index("transitions_workspace").on(table.workspaceId, table.id)],
);

/**
 * What was used, for whoever reckons it up: an `awake` row for each time a machine ran, prolonged every minute while it
 * does; a `snapshots` row for each hour in which a workspace had bytes in the store. Rows outlive their workspace.
 */
export const usage = pgTable(
  "usage",
  {
    id: bigserial("id", { mode: "number" }).primaryKey(),
    kind: text("kind").notNull(),
    workspaceId: text("workspace_id").notNull(),
    ownerId: text("owner_id").notNull(),
    /** The workspace's; empty in rows from before there were any, of people who are no more. */
    organisationId: text("organisation_id").notNull(),
    /** The machine of an `awake` row; 0 for snapshots. */
    generation: integer("generation").notNull(),
    startedAt: at("started_at").notNull(),
    endedAt: at("ended_at").notNull(),
    vcpus: integer("vcpus").notNull(),
    memoryMib: integer("memory_mib").notNull(),
    /** Largest seen within the row's time. */
    snapshotBytes: bigint("snapshot_bytes", { mode: "number" }).notNull(),
  },
  (table) => [
    uniqueIndex("usage_once").on(table.kind, table.workspaceId, table.generation, table.startedAt),
    index("usage_owner").on(table.ownerId, table.startedAt),
    index("usage_organisation").on(table.organisationId, table.startedAt),
  ],
);
