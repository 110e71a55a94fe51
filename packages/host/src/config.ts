import { defaultRetention } from "@dormouse/storage";
import { z } from "zod";

/** An object store for snapshots. S3's credentials come from the environment, its files or the instance, never from here. */
export const snapshotStore = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("file"), folder: z.string().startsWith("/") }),
  z.object({
    kind: z.literal("s3"),
    bucket: z.string().min(1),
    region: z.string().min(1).default("us-east-1"),
    /** Address of an S3-compatible server; default the region's own. */
    endpoint: z.url().optional(),
    /** Keys begin with this; ends with `/`. */
    prefix: z
      .string()
      .regex(/^([A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/)
      .default(""),
  }),
]);

const dayMs = 24 * 3_600_000;
const defaultUnusedForMs = 30 * dayMs;
/** A machine that is being made of it is somebody's long before a day is over. */
const unusedForMs = z
  .number()
  .int()
  .refine((value) => value === 0 || value >= dayMs, "must be 0 or at least a day");

/** How a host daemon is set up; see `readServiceConfig` of base, which reads it from `DORMOUSE_HOST`. */
export const hostConfig = z.object({
  /** Folder of templates and machines; machines run as users of their own and must be able to reach it. */
  dataDir: z.string().startsWith("/"),
  /** Folder of built artefacts. */
  cacheDir: z.string().startsWith("/"),
  /** Which of the templates in the cache is `base` now; `prepareHost` makes it and says. */
  templateHash: z.string(),
  /** The daemon listens on loopback or an address of the platform's own network, never on a public one. */
  listen: z.object({ address: z.string().default("127.0.0.1"), port: z.number().int().min(0).max(65_535).default(0) }),
  /** What control and gateway must present. */
  token: z.string().min(32),
  /** Prefix of network namespaces; two platforms on one machine need different ones. 1 to 8 small letters. */
  namePrefix: z
    .string()
    .regex(/^[a-z]{1,8}$/)
    .default("dm"),
  /** IPv4 address of the resolver that is asked for names; default: the host's own. */
  resolver: z.ipv4().optional(),
  /** Restored, warmed, paused machines kept ready. 0: every creation pays for its own restore. */
  poolSize: z.number().int().min(0).max(64).default(2),
  /** Network slots prepared ahead. */
  slotsAhead: z.number().int().min(1).max(1024).default(8),
  /** VMM processes that wait for a machine, each in a slot of its own and about 10 MB large. */
  vmmsAhead: z.number().int().min(0).max(1024).default(20),
  /** Running machines are kept so often, in milliseconds; 0: only when it is asked for. */
  snapshotEveryMs: z.number().int().min(0).default(60_000),
  /** Of the snapshots that nobody asked for, one of each `everyMs` is kept for `forMs`; by default as storage has it. */
  retention: z
    .array(z.object({ everyMs: z.number().int().positive(), forMs: z.number().int().positive() }))
    .default([...defaultRetention.tiers]),
  /** Where snapshots lie; default: the folder `snapshots` of `dataDir`. */
  snapshotStore: snapshotStore.optional(),
  /** What of a store elsewhere is kept on this host's disk for the next reading. */
  snapshotCacheMib: z.number().int().min(64).default(10_240),
  /** What they are encrypted with; without it they are not. The secret is 32 bytes in base64 and never in the store. */
  snapshotKey: z.object({ id: z.string(), secret: z.string() }).optional(),
  /** Where images and features come from. */
  registry: z
    .object({
      /** File of credentials in Docker's form; default: where Docker's own tools look for it. */
      authFile: z.string().startsWith("/").optional(),
      /** `HOST` or `HOST:PORT` of registries without TLS; addresses of this machine's own are spoken to without it too. */
      insecure: z.array(z.string()).default([]),
    })
    .prefault({}),
  /** Images, features and templates of images that nobody has used for so long are removed; 0: none are. */
  unusedForMs: unusedForMs.default(defaultUnusedForMs),
  /** File of root certificates, PEM, that servers which get secrets may have beside the usual ones. */
  extraRootsFile: z.string().startsWith("/").optional(),
  /** What agents' tokens and organisations' authorities are made with; the same on all hosts of an installation. */
  agentSecret: z.string().min(32),
  /** Virtual CPUs that may be promised for each core; idle machines use none. */
  vcpusPerCore: z.number().positive().max(64).default(16),
  /** How much of the host's memory is promised to machines, as a multiple of what there is; see `LaneCapacity` of compute. */
  memoryOvercommit: z.number().min(1).max(16).default(1),
  /** Memory that is never given to machines. */
  reservedMemoryMib: z.number().int().min(512).default(3072),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type HostConfig = z.infer<typeof hostConfig>;
/** {@link HostConfig} with defaults left out. */
export type HostConfigInput = z.input<typeof hostConfig>;
