import { z } from "zod";
import { limits } from "./limits.ts";

/** `[PROTOCOL:]HOST[:PORTS]` or `preset:NAME`, as `docs/egress.md` has it; read, and refused with a reason, by control. */
export const egressRule = z.string().min(1).max(limits.egressRuleLength);
const rules = z.array(egressRule).max(limits.egressRules);

/** `open`: all that nothing denies. `default`: presets of registries and the repository's own host. `none`: what rules allow. */
export const egressMode = z.enum(["open", "default", "none"]);
export type EgressMode = z.infer<typeof egressMode>;

/** What an installation, a template, a repository or a workspace says of what may leave. */
export const egressLayer = z.object({
  /** Absent: as the layer above has it. */
  mode: egressMode.optional(),
  allow: rules.optional(),
  /** Wins over what any layer allows. */
  deny: rules.optional(),
  /** What lies outside of it is not allowed, whatever layers below say. Absent: no cap. */
  cap: rules.optional(),
});
export type EgressLayer = z.infer<typeof egressLayer>;

/** All layers merged, as hosts enforce it. */
export const egressPolicy = z.object({
  mode: z.enum(["open", "restricted"]),
  allow: rules,
  deny: rules,
  caps: z.array(rules).max(8),
});
export type EgressPolicy = z.infer<typeof egressPolicy>;

/** Nothing leaves. */
export const closedEgress: EgressPolicy = { mode: "restricted", allow: [], deny: [], caps: [] };

/** Where a machine wanted to go and was not let; the same again is counted. */
export const egressRefusal = z.object({
  firstAt: z.iso.datetime(),
  lastAt: z.iso.datetime(),
  /** How often it was told; when there is much, less is told than happened. */
  count: z.number().int(),
  /** That was said, asked for, or led to the address. */
  name: z.string().nullable(),
  /** Null for a question for a name. */
  address: z.string().nullable(),
  port: z.number().int(),
  protocol: z.enum(["dns", "tcp", "udp", "icmp", "other"]),
  bytes: z.number().int(),
  reason: z.string(),
  /** The rule that would let it through; null when none would. */
  rule: z.string().nullable(),
});
export type EgressRefusal = z.infer<typeof egressRefusal>;

/** What was tried, for people: `name:port`, with the protocol unless it is TCP. */
export function placeOfRefusal({ name, address, port, protocol }: EgressRefusal): string {
  // A question is about a name, whichever port would have come after it.
  if (protocol === "dns") return name ?? "a name";
  const where = `${name ?? address}:${port}`;
  return protocol === "tcp" ? where : `${where} (${protocol})`;
}

/** How much was refused in an hour, whatever it was. */
export const egressHour = z.object({
  /** When the hour began. */
  at: z.iso.datetime(),
  count: z.number().int(),
});
export type EgressHour = z.infer<typeof egressHour>;

export const egressCounters = z.object({
  sentBytes: z.number(),
  sentPackets: z.number(),
  receivedBytes: z.number(),
  receivedPackets: z.number(),
  refusedBytes: z.number(),
  refusedPackets: z.number(),
});
export type EgressCounters = z.infer<typeof egressCounters>;

/** What was refused to a workspace's machine, and what went through. */
export const egressLog = z.object({
  /** By place, the last refused first; the 200 last ones. */
  refusals: z.array(egressRefusal),
  /** Those in which something was refused, the oldest first; of two days up to the last one. */
  hours: z.array(egressHour),
  /** Since its machine started; null without one. */
  counters: egressCounters.nullable(),
});
export type EgressLog = z.infer<typeof egressLog>;

export const egressAttempt = z.object({
  /** A name or an IPv4 address. */
  host: z.string().min(1).max(253),
  port: z.number().int().min(1).max(65_535),
  /** `web`: TLS or HTTP, which name their server. */
  protocol: z.enum(["web", "tcp", "udp"]).default("web"),
});
export type EgressAttempt = z.input<typeof egressAttempt>;

export const egressDecision = z.object({ isAllowed: z.boolean(), reason: z.string() });
export type EgressDecision = z.infer<typeof egressDecision>;

/** What may leave a workspace, and why. */
export const workspaceEgress = z.object({
  policy: egressPolicy,
  layers: z.object({
    installation: egressLayer,
    organisation: egressLayer,
    template: egressLayer,
    repository: egressLayer,
    workspace: egressLayer,
  }),
  /** What the repository's definition asks for and nobody has allowed yet. */
  proposed: z.array(egressRule),
  /** Since its machine started; null without one. */
  counters: egressCounters.nullable(),
});
export type WorkspaceEgress = z.infer<typeof workspaceEgress>;

/**
 * Whose layer it is: that of the installation (no name), of an organisation by its name or id, of a template by its name, or of a
 * repository by its address.
 */
export const egressScope = z.object({
  scope: z.enum(["installation", "organisation", "template", "repository"]),
  name: z.string().min(1).max(4096).optional(),
});
