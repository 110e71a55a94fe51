import { z } from "zod";
import { closedEgress, egressPolicy } from "./egress-schemas.ts";
import { base64, environment, guestPath, userName } from "./guest-schemas.ts";
import { machineSecrets } from "./secret-schemas.ts";

export const resources = z.object({
  vcpus: z.number().int().min(1).max(64).default(1),
  memoryMib: z.number().int().min(1024).max(262_144).default(1024),
  diskGib: z.number().int().min(1).max(1024).default(16),
});
export type Resources = z.infer<typeof resources>;

/** What a host knows of a workspace's machine. `hibernated` has no process, only its snapshot. */
export const machineState = z.enum(["starting", "running", "hibernating", "hibernated", "waking", "dead"]);

/** A kept moment of a workspace: memory, devices and drive of one instant. It is listed once all of it is durable. */
export const snapshotInfo = z.object({
  id: z.string(),
  workspaceId: z.string(),
  /** Which of the workspace's machines it is of. */
  generation: z.number().int(),
  createdMs: z.number(),
  /** Given by a person; such a snapshot is kept until it is deleted. */
  name: z.string().nullable(),
  /** periodic: every minute while it runs. hibernate: when it was put to sleep. manual. fork: to start others from. */
  reason: z.enum(["periodic", "hibernate", "manual", "fork"]),
  /** The snapshot before it; of another workspace when this one was forked. */
  parent: z.object({ workspaceId: z.string(), id: z.string() }).nullable(),
  /** What it added to the store. */
  storedBytes: z.number(),
  /** How long the machine stood still for it. */
  pauseMs: z.number().nullable(),
  /** The repository at that moment, when there is one. */
  git: z
    .object({
      branch: z.string().nullable(),
      head: z.string().nullable(),
      changedFiles: z.number(),
      /** Commits and stashes that no remote had; null: not known. */
      unpushedCommits: z.number().nullable().default(null),
      stashes: z.number().nullable().default(null),
    })
    .nullable(),
  /** Processes of the user that ran. */
  processes: z.number().nullable(),
});
export type SnapshotInfo = z.infer<typeof snapshotInfo>;

/** Which snapshot a machine starts from; of any workspace. */
export const snapshotRef = z.object({ workspaceId: z.string(), id: z.string() });
export type SnapshotRef = z.infer<typeof snapshotRef>;

export const machineInfo = z.object({
  workspaceId: z.string(),
  /** Raised by control at every start; a host refuses what is older than it knows. */
  generation: z.number().int(),
  state: machineState,
  /** Why it is dead, in one line. */
  reason: z.string().nullable(),
  template: z.string(),
  resources,
  /** Where the host reaches the guest; null without a process. */
  address: z.string().nullable(),
  pid: z.number().int().nullable(),
  startedMs: z.number().nullable(),
  isolation: z.enum(["hardware", "emulation"]),
  /** The newest durable snapshot: what is left should the machine be lost. */
  lastSnapshot: z.object({ id: z.string(), createdMs: z.number() }).nullable(),
  /** What its snapshots take in the store. */
  snapshotBytes: z.number(),
  /** When somebody or something last used it, as far as the host has seen; null without a process. */
  activeMs: z.number().nullable(),
  /** Why it counts as used right now, in words, e.g. `an open editor`; null when it is idle. */
  keptAwakeBy: z.string().nullable(),
  /** How long each step of the last start took. */
  timingsMs: z.record(z.string(), z.number()),
});
export type MachineInfo = z.infer<typeof machineInfo>;

export const templateInfo = z.object({
  name: z.string(),
  createdMs: z.number(),
  resources,
  /** Content hash of all it was built from. */
  hash: z.string(),
});
export type TemplateInfo = z.infer<typeof templateInfo>;

/** Whose key seals a machine's snapshots: an organisation's id. */
export const organisationId = z.string().regex(/^[a-z0-9][a-z0-9-]{0,47}$/, "must be an id");

export const createMachine = z.object({
  workspaceId: z.string(),
  /** Default: nobody's, such as a builder's, whose snapshots all may start from. */
  organisationId: organisationId.optional(),
  generation: z.number().int(),
  template: z.string(),
  hostname: z.string(),
  resources,
  env: environment,
  folder: guestPath,
  /** Whom processes run as; default: the image's `dev`, else root. */
  user: userName.optional(),
  /** Start from this snapshot instead of the template: a fork. */
  snapshot: snapshotRef.optional(),
  /** Whether it is kept every so often, as what somebody works in is; else only when that is asked for. */
  isKept: z.boolean().default(true),
  /** What may leave it. */
  egress: egressPolicy.default(closedEgress),
  /** Whose placeholders are in `env`. */
  secrets: machineSecrets.default([]),
});

/** One line of a long step, and how far it is. */
export const hostProgress = z.object({
  step: z.string(),
  message: z.string(),
  fraction: z.number().min(0).max(1).optional(),
});
export type HostProgress = z.infer<typeof hostProgress>;

/** What a reference to an OCI image means now, and what the image says of itself. */
export const imageInfo = z.object({
  reference: z.string(),
  /** `sha256:…`; the same image as long as it is the same. */
  digest: z.string(),
  /** Whom it runs as, `NAME`, `UID` or either with `:GROUP`; empty: root. */
  user: z.string(),
  env: z.record(z.string(), z.string()),
  labels: z.record(z.string(), z.string()),
});
export type ImageInfo = z.infer<typeof imageInfo>;

/** Where a devcontainer feature is fetched from, as `parseFeatureReference` of devcontainer reads it. */
export const featureSource = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("registry"),
    registry: z.string(),
    namespace: z.string(),
    id: z.string(),
    tag: z.string().optional(),
    digest: z.string().optional(),
  }),
  z.object({ kind: z.literal("tarball"), url: z.url() }),
]);
export type FeatureSource = z.infer<typeof featureSource>;

/** A feature's folder: small files. */
export const featureContents = z.object({
  digest: z.string(),
  files: z.array(z.object({ path: z.string(), mode: z.number().int(), content: base64 })),
});
export type FeatureContents = z.infer<typeof featureContents>;

export const hostCapacity = z.object({
  vcpus: z.object({ total: z.number(), free: z.number() }),
  memoryMib: z.object({ total: z.number(), free: z.number() }),
  diskFreeBytes: z.number(),
  slots: z.object({ total: z.number(), free: z.number() }),
  pool: z.object({ size: z.number(), ready: z.number() }),
});
export type HostCapacity = z.infer<typeof hostCapacity>;
