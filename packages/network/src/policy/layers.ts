import { DormouseError } from "@dormouse/base";
import type { EgressPolicy } from "./policy.ts";
import { parseDeny } from "./policy.ts";
import { defaultPresets, expandPresets } from "./presets.ts";
import { normalName, parseRule } from "./rule.ts";

/** `open`: all. `default`: the presets and the repository's own host. `none`: only what rules allow. */
export type EgressMode = "open" | "default" | "none";

/** What one layer says. Rules may be `preset:NAME`. */
export interface EgressLayer {
  /** Absent: as the layer above has it. */
  mode?: EgressMode | undefined;
  allow?: readonly string[] | undefined;
  deny?: readonly string[] | undefined;
  /** Nothing beyond this is allowed, whatever lower layers say. Absent: no cap. */
  cap?: readonly string[] | undefined;
}

/** From the widest to the most specific. */
export interface EgressLayers {
  installation?: EgressLayer | undefined;
  organisation?: EgressLayer | undefined;
  template?: EgressLayer | undefined;
  repository?: EgressLayer | undefined;
  workspace?: EgressLayer | undefined;
}

/**
 * Merges the layers: allows and denies add up, a deny of any layer wins, every layer's cap holds, and the mode is that of
 * the most specific layer that has one (`default` when none has).
 * @param repository the repository's address; its host is let through by the mode `default`.
 */
export function mergeLayers(layers: EgressLayers, repository: string | null): EgressPolicy {
  const { installation, organisation, template, repository: ofRepository, workspace } = layers;
  const all = [installation, organisation, template, ofRepository, workspace].filter((layer) => layer !== undefined);
  const mode = all.findLast((layer) => layer.mode !== undefined)?.mode ?? "default";
  const own = all.flatMap((layer) => expandPresets(layer.allow ?? [], "egress.allow"));
  const usual =
    mode === "default"
      ? [
          ...expandPresets(
            defaultPresets.map((name) => `preset:${name}`),
            "egress",
          ),
          ...hostRules(repository),
        ]
      : [];
  const deny = all.flatMap((layer) => expandPresets(layer.deny ?? [], "egress.deny"));
  const caps = all.flatMap((layer) => (layer.cap ? [expandPresets(layer.cap, "egress.cap")] : []));
  const [firstCap, ...otherCaps] = caps;
  if (mode === "open" && firstCap) return { mode: "restricted", allow: firstCap, deny: unique(deny), caps: otherCaps };
  return {
    mode: mode === "open" ? "open" : "restricted",
    // What is open needs no allows, and they would only be looked at.
    allow: mode === "open" ? [] : unique([...usual, ...own]),
    deny: unique(deny),
    caps,
  };
}

/**
 * Checks a layer before it is kept.
 * @throws DormouseError `invalid_argument` with the list, the rule and what would be right.
 */
export function checkLayer(layer: EgressLayer): void {
  for (const rule of expandPresets(layer.allow ?? [], "egress.allow")) parseRule(rule, "egress.allow");
  for (const rule of expandPresets(layer.cap ?? [], "egress.cap")) parseRule(rule, "egress.cap");
  for (const rule of layer.deny ?? []) {
    if (rule.startsWith("preset:")) {
      throw new DormouseError(
        "invalid_argument",
        `egress.deny has "${rule}": presets allow; leave the mode default instead`,
      );
    }
    parseDeny(rule);
  }
}

/** The rules that reach a repository's own host, by the protocol and port of its address. */
export function hostRules(repository: string | null): string[] {
  const place = repository === null ? undefined : placeOf(repository);
  if (!place) return [];
  const { host, port, isWeb } = place;
  if (!isWeb) return [`tcp:${host}:${port}`];
  // An address has no name that could be checked.
  return [normalName(host) === undefined ? `tcp:${host}:${port}` : `${host}:${port}`];
}

function placeOf(repository: string): { host: string; port: number; isWeb: boolean } | undefined {
  const short = /^(?:[^@/]+@)?([^:/]+):(?!\/\/)/.exec(repository);
  if (short?.[1]) return { host: short[1].toLowerCase(), port: 22, isWeb: false };
  if (!URL.canParse(repository)) return undefined;
  const { protocol, hostname, port } = new URL(repository);
  const usual = { "https:": 443, "http:": 80, "ssh:": 22, "git:": 9418 }[protocol];
  if (usual === undefined || hostname === "" || hostname.startsWith("[")) return undefined;
  return { host: hostname.toLowerCase(), port: Number(port) || usual, isWeb: protocol.startsWith("http") };
}

function unique(rules: readonly string[]): string[] {
  return [...new Set(rules)];
}
