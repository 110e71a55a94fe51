import { z } from "zod";

/** What the gateway is started with; see `readServiceConfig` of base, which reads it from `DORMOUSE_GATEWAY`. */
export const gatewayConfig = z.object({
  /** Where people and programs connect; port 0 takes a free one. */
  listen: z.object({ host: z.string().default("127.0.0.1"), port: z.number().int().min(0).max(65_535).default(0) }),
  /** Control's public API, e.g. `http://127.0.0.1:40001`. */
  controlUrl: z.url(),
  /** Control's internal contract and its token. */
  internalUrl: z.url(),
  internalToken: z.string().min(16),
  /** Under which address people reach this gateway; its scheme says whether TLS ends in front of it. */
  publicUrl: z.url(),
  /** Where ports have their origins, with a port if it is not the scheme's own; null: they have none. */
  portsDomain: z.string().min(1).nullable().default(null),
  /** Built pages; a folder that is not there yet is looked for again at every request. */
  workbenchDir: z.string().min(1),
  consoleDir: z.string().min(1),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
});
export type GatewayConfig = z.infer<typeof gatewayConfig>;
/** {@link GatewayConfig} with defaults left out. */
export type GatewayConfigInput = z.input<typeof gatewayConfig>;
