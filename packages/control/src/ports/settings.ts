import type { ForwardedPort, ListeningPort, PortVisibility } from "@dormouse/contract";
import { attributesOf } from "@dormouse/devcontainer";
import { noPortRules, portsOf } from "../definitions/ports.ts";
import type { WorkspaceRow } from "../workspaces/view.ts";
import type { PortSetting } from "./store.ts";

/** From the narrowest to the widest. */
const widths: readonly PortVisibility[] = ["private", "organisation", "public"];

/** Whether `a` lets more people in than `b`. */
export function isWider(a: PortVisibility, b: PortVisibility): boolean {
  return widths.indexOf(a) > widths.indexOf(b);
}

/** What is known of a port without asking the machine. */
export type KnownPort = Pick<
  ForwardedPort,
  "port" | "label" | "protocol" | "visibility" | "isForwarded" | "onAutoForward"
>;

/**
 * What holds for a port: what was set, else what the definition says, else the usual; no wider than the policy. Rules that
 * look at a process' command line are left to tools: their expressions may be slow on purpose.
 */
export function knownPort(
  row: Pick<WorkspaceRow, "id" | "folder" | "env" | "definition">,
  { port, setting, maxVisibility }: { port: number; setting: PortSetting | undefined; maxVisibility: PortVisibility },
): KnownPort {
  const defined = portsOf(row.definition?.ports ?? noPortRules, row);
  const attributes = attributesOf(defined, port);
  const visibility = setting?.visibility ?? defined.portsVisibility[port] ?? "private";
  return {
    port,
    label: setting?.label ?? attributes.label ?? null,
    protocol: setting?.protocol ?? attributes.protocol ?? "http",
    visibility: isWider(visibility, maxVisibility) ? maxVisibility : visibility,
    isForwarded: setting?.isForwarded ?? true,
    onAutoForward: attributes.onAutoForward ?? "notify",
  };
}

/** The ports of a workspace that anything is known of, by their number. */
export function portNumbers(
  row: Pick<WorkspaceRow, "id" | "folder" | "env" | "definition">,
  { listening, settings }: { listening: readonly ListeningPort[]; settings: readonly PortSetting[] },
): number[] {
  const { ports } = portsOf(row.definition?.ports ?? noPortRules, row);
  // A service beside the machine is none of its ports.
  const named = ports.filter(({ host, port }) => host === "localhost" && port > 0);
  const all = [...listening, ...settings, ...named].map(({ port }) => port);
  return [...new Set(all)].sort((a, b) => a - b);
}
