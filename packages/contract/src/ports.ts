import { z } from "zod";
import { portAttributes, portVisibility } from "./api-schemas.ts";
import { limits } from "./limits.ts";

/** A TCP port that something may listen on. */
export const portNumber = z.coerce
  .number()
  .int("a port is a whole number")
  .min(1, "a port is at least 1")
  .max(65_535, "a port is at most 65535");

/** What a port's server speaks. h2c: HTTP/2 without TLS, as servers of gRPC do. */
export const portProtocol = z.enum(["http", "https", "h2c"]);
export type PortProtocol = z.infer<typeof portProtocol>;

/** A port of a workspace: something listens on it, its definition names it, or somebody has set something for it. */
export const forwardedPort = z.object({
  port: z.number().int(),
  label: z.string().nullable(),
  /** What listens; null when nothing does, or the workspace does not run. */
  process: z.string().nullable(),
  pid: z.number().int().nullable(),
  /** The address it listens on. */
  address: z.string().nullable(),
  isListening: z.boolean(),
  protocol: portProtocol,
  /** Who may open it, as far as the platform's policy lets it be seen. */
  visibility: portVisibility,
  /** False: its address answers nobody. */
  isForwarded: z.boolean(),
  /** What tools do when it begins to listen. */
  onAutoForward: portAttributes.shape.onAutoForward.unwrap(),
  /** Its own origin; null: this platform has no domain for ports. */
  url: z.string().nullable(),
});
export type ForwardedPort = z.infer<typeof forwardedPort>;

/** What is set for a port; null goes back to what the definition says. */
export const setPort = z.object({
  visibility: portVisibility.nullable().optional(),
  label: z.string().min(1).max(limits.portLabelLength).nullable().optional(),
  protocol: portProtocol.nullable().optional(),
  isForwarded: z.boolean().nullable().optional(),
});
export type SetPort = z.input<typeof setPort>;

/** A link that lets whoever has it open one port. */
export const portLink = z.object({
  id: z.string(),
  port: z.number().int(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
});
export type PortLink = z.infer<typeof portLink>;

export const linkSeconds = z
  .number()
  .int()
  .min(1, "a link lasts at least 1 second")
  .max(limits.portLinkSeconds, `a link lasts at most ${limits.portLinkSeconds} seconds (30 days)`);
