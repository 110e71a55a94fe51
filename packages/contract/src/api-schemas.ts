import { z } from "zod";
import { egressRefusal } from "./egress-schemas.ts";
import { environment, execOptions, guestPath } from "./guest-schemas.ts";
import { resources, snapshotInfo, snapshotRef } from "./host-schemas.ts";
import { limits } from "./limits.ts";
import { organisationRef } from "./organisation-schemas.ts";

export const workspaceName = z
  .string()
  .max(limits.workspaceNameLength, `a name has at most ${limits.workspaceNameLength} characters`)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "a name has small letters, digits and - between them");

/** A workspace's name or id. */
export const workspaceRef = z.string().min(1).max(128);

/**
 * creating: no machine yet. starting: its machine is being restored. preparing: the
 * repository is being cloned. running. hibernating, hibernated, waking. deleting.
 * failed: has a reason; can be deleted or recovered.
 */
export const workspaceState = z.enum([
  "creating",
  "starting",
  "preparing",
  "running",
  "hibernating",
  "hibernated",
  "waking",
  "deleting",
  "failed",
]);
export type WorkspaceState = z.infer<typeof workspaceState>;

/** What is wrong with a definition, or with what it has run. */
export const definitionProblem = z.object({
  message: z.string(),
  /** Where in the repository, as far as it can be told; line and column from 1. */
  file: z.string().nullable(),
  line: z.number().int().nullable(),
  column: z.number().int().nullable(),
});

/** Who may open a port: whoever may open the workspace, everybody in its organisation, anybody. */
export const portVisibility = z.enum(["private", "organisation", "public"]);
export type PortVisibility = z.infer<typeof portVisibility>;

/** What a definition says of ports ("Port attributes" of the specification); what it leaves to tools is absent. */
export const portAttributes = z.object({
  label: z.string().optional(),
  protocol: z.enum(["http", "https"]).optional(),
  onAutoForward: z.enum(["notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"]).optional(),
  requireLocalPort: z.boolean().optional(),
  elevateIfNeeded: z.boolean().optional(),
});
export type PortAttributes = z.infer<typeof portAttributes>;

/** A port that a definition wants forwarded, with all that it says of it. */
export const definedPort = portAttributes.extend({
  /** `localhost` is the machine itself; other names are services beside it. */
  host: z.string(),
  port: z.number().int(),
  label: z.string().nullable(),
  /** What the definition proposes; absent: nothing. */
  visibility: portVisibility.optional(),
});
export type DefinedPort = z.infer<typeof definedPort>;

export const workspace = z.object({
  id: z.string(),
  name: workspaceName,
  owner: z.string(),
  /** Its name; `personal` for a person's own. */
  organisation: z.string(),
  state: workspaceState,
  /** One line; why it failed, or what it waits for. */
  reason: z.string().nullable(),
  template: z.string(),
  repository: z.string().nullable(),
  ref: z.string().nullable(),
  /** Where the repository lies, and where processes start. */
  folder: guestPath,
  resources,
  isolation: z.enum(["hardware", "emulation"]).nullable(),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().nullable(),
  /** Deleted then, unless extended; null: kept. */
  expiresAt: z.iso.datetime().nullable(),
  /** Put to sleep after it was idle for so long; null: never. */
  hibernateAfterSeconds: z.number().int().nullable(),
  /** Deleted after it slept for so long without a break; null: never. */
  deleteAfterSeconds: z.number().int().nullable(),
  /** Why it does not fall asleep now, e.g. `an open editor`; null when it is idle or does not run. */
  keptAwakeBy: z.string().nullable(),
  /** When its newest durable snapshot was taken. */
  snapshotAt: z.iso.datetime().nullable(),
  /** The snapshot it began as, when it is a fork. */
  forkedFrom: snapshotRef.nullable(),
  /** What its repository's `devcontainer.json` made of it; null when it has none. */
  devcontainer: z
    .object({
      /** Relative to the repository; null when none could be chosen. */
      path: z.string().nullable(),
      /** Why the workspace is not, or not in all, what the file says; null when it is. */
      problem: definitionProblem.nullable(),
      /** What came of the steps for the last tool that attached, once they have ended; null: there were none. */
      attached: z.object({ at: z.iso.datetime(), problem: definitionProblem.nullable() }).nullable(),
      /** What it asks for and a machine does not do. */
      notes: z.array(z.string()),
      /** Of `forwardPorts` and `appPort`. */
      ports: z.array(definedPort),
      /** For whatever else listens: by port, `host:port`, range or regular expression of a command line, as in the file. */
      portsAttributes: z.record(z.string(), portAttributes),
      /** Of ports to which none of these applies. */
      otherPortsAttributes: portAttributes,
      /** Proposed for ports by number, also for such as are not in `ports`. */
      portsVisibility: z.record(z.string(), portVisibility),
      /** Of `customizations.vscode`: defaults of the editor below everybody's own settings, and extensions that are recommended. */
      vscode: z.object({ settings: z.record(z.string(), z.unknown()), extensions: z.array(z.string()) }),
    })
    .nullable(),
  /** Which requests to its ports wake it when it sleeps. */
  wakeOn: z.object({ http: z.boolean(), webSocket: z.boolean() }),
  /** The page of this workspace. */
  url: z.string(),
  /** The origin of each of its ports, with `{port}` where the number goes; null: this platform has no domain for ports. */
  portUrl: z.string().nullable(),
});
export type Workspace = z.infer<typeof workspace>;

export const ttlSeconds = z
  .number()
  .int()
  .min(1, "a time to live is at least 1 second")
  .max(limits.ttlSeconds, `a time to live is at most ${limits.ttlSeconds} seconds (30 days)`);

export const hibernateAfterSeconds = z
  .number()
  .int()
  .min(limits.hibernateAfterSeconds.min, `idle for at least ${limits.hibernateAfterSeconds.min} seconds`)
  .max(limits.hibernateAfterSeconds.max, `idle for at most ${limits.hibernateAfterSeconds.max} seconds (30 days)`);

export const deleteAfterSeconds = z
  .number()
  .int()
  .min(limits.deleteAfterSeconds.min, `asleep for at least ${limits.deleteAfterSeconds.min} seconds`)
  .max(limits.deleteAfterSeconds.max, `asleep for at most ${limits.deleteAfterSeconds.max} seconds (a year)`);

/** One of a repository's definitions, or none of them. */
export const devcontainerChoice = z.union([z.string().min(1).max(255), z.literal(false)]);

export const rebuildWorkspace = z.object({
  /** Default: as it was chosen last. */
  devcontainer: devcontainerChoice.optional(),
  /** Keep the machine when it is what the definition says. */
  ifNeeded: z.boolean().default(false),
  /** False: answers at once with `preparing`; follow it with `events`. */
  wait: z.boolean().default(true),
});
export type RebuildWorkspace = z.input<typeof rebuildWorkspace>;

export const lockFeatures = z.object({
  /** Take what the definition's versions mean now; else what the lock file holds stays. */
  upgrade: z.boolean().default(false),
  /** False: only tell what would change. */
  write: z.boolean().default(true),
});

const lockedVersion = z.object({ version: z.string(), integrity: z.string() });

/** A lock file of features. */
export const featureLock = z.object({
  /** Relative to the repository. */
  path: z.string(),
  /** How many it has. */
  features: z.number().int(),
  /** What became of it; empty: it said all of it. Without `from` a feature is new in it, without `to` it is gone. */
  changes: z.array(z.object({ feature: z.string(), from: lockedVersion.nullable(), to: lockedVersion.nullable() })),
});
export type FeatureLock = z.infer<typeof featureLock>;

export const createWorkspace = z.object({
  /** Default: after the repository, or two words. */
  name: workspaceName.optional(),
  /** Whose it is, by name or id. Default: the person's own organisation. */
  organisation: organisationRef.optional(),
  template: z.string().min(1).max(128).default("base"),
  /** A git URL (https, http, ssh, git). Local paths are brought by the CLI. */
  repository: z.string().min(1).max(4096).optional(),
  /** Branch, tag or commit. */
  ref: z.string().min(1).max(255).optional(),
  /**
   * Which of the repository's definitions is applied, by its folder's name under `.devcontainer` or its path; false: none.
   * Default: the usual one, if there is one.
   */
  devcontainer: devcontainerChoice.optional(),
  /** Default folder; with a repository `/workspaces/<name>`, else `/workspace`. */
  folder: guestPath.optional(),
  ttlSeconds: ttlSeconds.nullable().optional(),
  /** Idle for so long, it is put to sleep; null: never. Default: the platform's, 30 minutes. */
  hibernateAfterSeconds: hibernateAfterSeconds.nullable().optional(),
  /** Asleep for so long, it is deleted; null: never. Default: never. */
  deleteAfterSeconds: deleteAfterSeconds.nullable().optional(),
  resources: resources.partial().optional(),
  env: environment.optional(),
  /**
   * Of the definition's commands only those are run, and waited for, that a prebuild runs: it is to become a template, and
   * what is a person's own is left to the workspaces that start from it.
   */
  prebuild: z.boolean().default(false),
  /** False: answers at once with `creating`; follow it with `events`. */
  wait: z.boolean().default(true),
});
export type CreateWorkspace = z.input<typeof createWorkspace>;

export const updateWorkspace = z.object({
  name: workspaceName.optional(),
  /** From now on; null keeps it. */
  ttlSeconds: ttlSeconds.nullable().optional(),
  hibernateAfterSeconds: hibernateAfterSeconds.nullable().optional(),
  deleteAfterSeconds: deleteAfterSeconds.nullable().optional(),
  wakeOn: z.object({ http: z.boolean(), webSocket: z.boolean() }).partial().optional(),
});

/** A kept moment of a workspace, on its timeline. */
export const snapshot = snapshotInfo
  .omit({ createdMs: true, generation: true })
  .extend({ createdAt: z.iso.datetime() });
export type Snapshot = z.infer<typeof snapshot>;

/** Work in a workspace's repository that is nowhere else, as far as git knows; lost when the workspace is deleted. */
export const unpushedWork = z.object({
  /** When it was so: just now for a workspace that runs, else at its newest snapshot. */
  at: z.iso.datetime(),
  branch: z.string().nullable(),
  /** Changed, staged and untracked files. */
  changedFiles: z.number().int(),
  /** Commits of any branch that no remote has, counted as far as `limits.gitUnpushedCommits`; null: not known. */
  commits: z.number().int().nullable(),
  stashes: z.number().int().nullable(),
});
export type UnpushedWork = z.infer<typeof unpushedWork>;

export const snapshotName = z
  .string()
  .min(1)
  .max(limits.snapshotNameLength, `a name has at most ${limits.snapshotNameLength} characters`);

export const forkWorkspace = z.object({
  count: z
    .number()
    .int()
    .min(1, { error: ({ input }) => `${input} is too few: at least one fork` })
    .max(limits.forks, { error: ({ input }) => `${input} is too many: at most ${limits.forks} forks at once` })
    .default(1),
  /** One of the workspace's snapshots; default: as it is now, or as it fell asleep. */
  snapshot: z.string().min(1).max(128).optional(),
  /** With several, `-1`, `-2` … is added. Default: after the workspace. */
  name: workspaceName.optional(),
  /** Environment of the forks' new processes; nothing of the workspace's own is passed on. */
  env: environment.optional(),
  ttlSeconds: ttlSeconds.nullable().optional(),
});
export type ForkWorkspace = z.input<typeof forkWorkspace>;

/** What became of one fork: the workspace, or why there is none. */
export const forkResult = z.union([
  z.object({ workspace }),
  z.object({ error: z.object({ code: z.string(), message: z.string() }) }),
]);
export type ForkResult = z.infer<typeof forkResult>;

export const workspaceEvent = z.discriminatedUnion("type", [
  z.object({ type: z.literal("state"), workspace }),
  z.object({
    type: z.literal("progress"),
    step: z.string(),
    message: z.string(),
    fraction: z.number().min(0).max(1).optional(),
  }),
  /** Something in the workspace wanted to reach a place that it may not; each place is told once in a while. */
  z.object({ type: z.literal("egress"), refusal: egressRefusal }),
  z.object({ type: z.literal("deleted") }),
]);
export type WorkspaceEvent = z.infer<typeof workspaceEvent>;

export const execRequest = execOptions.extend({
  /** Text for standard input. */
  stdin: z.string().optional(),
});

export const templateName = z
  .string()
  .max(limits.workspaceNameLength, `a name has at most ${limits.workspaceNameLength} characters`)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "a name has small letters, digits and - between them");

/** What workspaces start from: `base`, which ships with the product, and machines that were set up and kept. */
export const template = z.object({
  name: z.string(),
  /** Counts how often it was baked; workspaces that exist stay on theirs. */
  version: z.number().int(),
  createdAt: z.iso.datetime(),
  /** Who baked it; null: it ships with the product. */
  owner: z.string().nullable(),
  /** Whose workspaces start from it; null: everybody's. */
  organisation: z.string().nullable(),
  resources,
  /** What lies in it already. */
  repository: z.string().nullable(),
  ref: z.string().nullable(),
  folder: guestPath,
});

export const bakeTemplate = z.object({
  name: templateName,
  /** A running workspace, which becomes the template and is deleted. */
  workspace: workspaceRef,
});
export type Template = z.infer<typeof template>;

export const createPrebuild = z.object({
  /** A git URL. A password in it is used once and kept nowhere. */
  repository: z.string().min(1).max(4096),
  /** Branch or tag; default: the repository's own branch. */
  ref: z.string().min(1).max(255).optional(),
  /** Which of its definitions; default: the usual one. */
  devcontainer: z.string().min(1).max(255).optional(),
  /** Whose workspaces start from it, by name or id. Default: the person's own organisation. */
  organisation: organisationRef.optional(),
});
export type CreatePrebuild = z.input<typeof createPrebuild>;

/** A repository whose workspaces are set up ahead. */
export const prebuild = z.object({
  id: z.string(),
  /** Its name; `personal` for a person's own. */
  organisation: z.string(),
  repository: z.string(),
  ref: z.string().nullable(),
  devcontainer: z.string().nullable(),
  /** Of a pull request: that of its repository, whose triggers made it. */
  parentId: z.string().nullable(),
  /**
   * waiting: it is made next. building: it is being made. ready: workspaces start from it. failed: the last was not made; they start
   * from the one before, if there is one. expired: it was kept for as long as it is to be.
   */
  state: z.enum(["waiting", "building", "ready", "failed", "expired"]),
  /** Why it is being made. */
  reason: z.string().nullable(),
  /** Of the one that workspaces start from; null: there is none. */
  commit: z.string().nullable(),
  builtAt: z.iso.datetime().nullable(),
  /** Why the last was not made. */
  problem: z.string().nullable(),
  /** When the last was made, or was given up. */
  endedAt: z.iso.datetime().nullable(),
  /** What has one made, as the definition says that was built last; schedules in UTC. */
  triggers: z.array(z.union([z.enum(["push", "pr"]), z.object({ cron: z.string() })])),
  /** When its schedule wants the next one. */
  nextAt: z.iso.datetime().nullable(),
  expiresAt: z.iso.datetime().nullable(),
});
export type Prebuild = z.infer<typeof prebuild>;

export const apiKey = z.object({
  id: z.string(),
  name: z.string(),
  /** The name of the one that it is for; null: it can do what the person can. */
  organisation: z.string().nullable(),
  /** First characters, to tell keys apart. */
  start: z.string().nullable(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().nullable(),
});
export type ApiKey = z.infer<typeof apiKey>;

export const account = z.object({ id: z.string(), name: z.string(), email: z.string() });
export type Account = z.infer<typeof account>;

const share = z.object({ used: z.number(), /** Null: as much as there is. */ limit: z.number().nullable() });

/** What somebody, or all of an organisation, has of what they may have. */
export const allowance = z.object({
  workspaces: share,
  /** What the snapshots of all these workspaces take in the store. */
  snapshotBytes: share,
});
export type Allowance = z.infer<typeof allowance>;

/** A repository of personal settings: what it is, what installs it, where it is put. */
export const dotfiles = z.object({
  /** Cloned without credentials. */
  repository: z.string().min(1).max(4096),
  /** Default: the first script of a usual name in it, else links to its files. */
  installCommand: z.string().min(1).max(4096).nullable().default(null),
  /** Default: `~/dotfiles`. */
  targetPath: z.string().min(1).max(limits.pathBytes).nullable().default(null),
});
export type Dotfiles = z.output<typeof dotfiles>;

const gitText = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{Cc}<>]*$/u, "must have no line breaks and no < or >");

/** What somebody wants in each new workspace of theirs, in the background, whatever its repository says. Never in a template. */
export const personalSetup = z.object({
  /** Null: what a repository proposes is brought, if it does. */
  dotfiles: dotfiles.nullable(),
  /** A path or a name, as `zsh`; where a machine has none of it, its own stays. */
  shell: z
    .string()
    .max(255)
    .regex(/^(\/[\w./+-]+|[\w.+-]+)$/, 'must be a path or a name such as "zsh"')
    .nullable(),
  /** `user.name` of git. */
  gitName: gitText.nullable(),
  /** `user.email` of git. */
  gitEmail: gitText.nullable(),
});
export type PersonalSetup = z.output<typeof personalSetup>;

/** Settings of the editor that follow the user, as the editor stores them. */
export const userSettings = z.object({
  settings: z.string().max(1024 * 1024),
  keybindings: z.string().max(1024 * 1024),
});
export type UserSettings = z.infer<typeof userSettings>;

/** `publisher.name`, as galleries and `devcontainer.json` name an extension. */
export const extensionIdentifier = z
  .string()
  .max(255)
  .regex(/^[A-Za-z0-9][A-Za-z0-9-]*\.[A-Za-z0-9][A-Za-z0-9-]*$/, "must be PUBLISHER.NAME");

/** An extension of the editor that somebody has installed. */
export const editorExtension = z.object({
  id: z.string(),
  identifier: extensionIdentifier,
  version: z.string(),
  /** Size of its package. */
  bytes: z.number().int(),
  /** From a `.vsix` file, or from the gallery. */
  source: z.enum(["file", "gallery"]),
  /** Path under which its files are, without a slash at the end. Whoever knows it can read them. */
  url: z.string(),
  /** Its `package.json`. */
  manifest: z.record(z.string(), z.unknown()),
  /** Its `package.nls.json`: the texts that its manifest names. */
  translations: z.record(z.string(), z.unknown()).nullable(),
  /** What the editor notes about it. */
  metadata: z.record(z.string(), z.unknown()),
  installedAt: z.iso.datetime(),
});
export type EditorExtension = z.infer<typeof editorExtension>;

/** What somebody has installed, and whether there is a gallery to install from. */
export const editorExtensions = z.object({ gallery: z.boolean(), extensions: z.array(editorExtension) });
export type EditorExtensions = z.infer<typeof editorExtensions>;
