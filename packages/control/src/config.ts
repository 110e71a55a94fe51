import { egressMode, portVisibility } from "@dormouse/contract";
import { z } from "zod";

/** Where a server listens; port 0 takes a free one. */
export const listenAddress = z.object({
  host: z.string().default("127.0.0.1"),
  port: z.number().int().min(0).max(65_535).default(0),
});
export type ListenAddress = z.infer<typeof listenAddress>;

const dayMs = 24 * 3_600_000;

/** What control is started with; see `readServiceConfig` of base, which reads it from `DORMOUSE_CONTROL`. */
export const controlConfig = z.object({
  /** Where the public API listens; only the gateway reaches it. */
  listen: listenAddress.prefault({}),
  /** Where the internal contract listens; only the gateway reaches it. */
  internalListen: listenAddress.prefault({}),
  /** The gateway's token for the internal contract. */
  internalToken: z.string().min(16),
  /** Connection string of PostgreSQL. */
  databaseUrl: z.string().min(1),
  /** The host daemon's HTTP server, without a slash at its end, and the token it takes. */
  host: z.object({ url: z.url(), token: z.string().min(16) }),
  /** Where people reach the platform, e.g. `http://localhost:7070`. */
  publicUrl: z.url(),
  /** Folder for the secrets of this installation. */
  dataDir: z.string().min(1),
  /** What one person may have; null: as much as there is. */
  quota: z
    .object({
      workspaces: z.number().int().min(0).nullable().default(null),
      snapshotBytes: z.number().int().min(0).nullable().default(null),
    })
    .prefault({}),
  /** What may leave workspaces unless the installation's own layer says otherwise. */
  egressMode: egressMode.default("default"),
  /** How `devcontainer.json` is applied. */
  devcontainer: z
    .object({
      /** A lifecycle command may take so long, a feature's installation, and the build of a Dockerfile. */
      hookTimeoutSeconds: z.number().int().min(1).default(1800),
      featureTimeoutSeconds: z.number().int().min(1).default(1800),
      buildTimeoutSeconds: z.number().int().min(1).default(3600),
      /** Registry and namespace of features that are named by their id alone. */
      featureNamespace: z.string().optional(),
      /** What was built and not started from for so long is removed; 0: nothing is. */
      unusedForMs: z
        .number()
        .int()
        .refine((value) => value === 0 || value >= dayMs, "must be 0 or at least a day")
        .default(30 * dayMs),
    })
    .prefault({}),
  /** Repositories whose workspaces are set up ahead. */
  prebuilds: z
    .object({
      /** Those with a trigger that is seen in them are looked at so often; 0: only when they say that they have changed. */
      lookEverySeconds: z
        .number()
        .int()
        .refine((value) => value === 0 || value >= 30, "must be 0 or at least 30")
        .default(300),
    })
    .prefault({}),
  /** Forwarded ports. */
  ports: z
    .object({
      /** Their origins are `<port>--<workspace>.` and this, with a port if it is not the scheme's own; null: they have none. */
      domain: z.string().min(1).nullable().default(null),
      /** Nobody, no definition either, opens a port any wider. */
      maxVisibility: portVisibility.default("public"),
    })
    .prefault({}),
  /** Extensions of the editor. */
  extensions: z
    .object({
      /** Where they are found, e.g. `https://open-vsx.org/vscode/gallery`; null: nobody is asked, and they come from files alone. */
      galleryUrl: z
        .url({ protocol: /^https?$/ })
        .nullable()
        .default(null),
    })
    .prefault({}),
  /** E-mail address of the administrator that the first start makes. */
  administratorEmail: z.email().default("admin@dormouse.local"),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type ControlConfig = z.infer<typeof controlConfig>;
/** {@link ControlConfig} with defaults left out. */
export type ControlConfigInput = z.input<typeof controlConfig>;
