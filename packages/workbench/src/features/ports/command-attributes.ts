import type { PortAttributes, Workspace } from "@dormouse/contract";

/** Keys of `portsAttributes` that are ports, hosts with ports or ranges; the others are regular expressions. */
const byNumber = /^(\d+(-\d+)?|[a-z0-9-]+:\d{1,5})$/;

/**
 * What a definition says of a port by its process' command line, where it says nothing by number. The expressions are the
 * repository's: a page runs them for itself alone, which the platform does not do.
 */
export function attributesByCommand(
  devcontainer: Workspace["devcontainer"],
  port: number,
  commandLine: string | null,
): Partial<Pick<PortAttributes, "label" | "onAutoForward">> {
  if (!devcontainer || commandLine === null) return {};
  const entries = Object.entries(devcontainer.portsAttributes);
  if (entries.some(([key]) => byNumber.test(key) && covers(key, port))) return {};
  const found = entries.find(([key]) => !byNumber.test(key) && matches(key, commandLine));
  const { label, onAutoForward } = found?.[1] ?? {};
  return { ...(label !== undefined && { label }), ...(onAutoForward !== undefined && { onAutoForward }) };
}

function covers(key: string, port: number): boolean {
  const [, first, last] = /^(?:localhost:)?(\d+)(?:-(\d+))?$/.exec(key) ?? [];
  return first !== undefined && Number(first) <= port && port <= Number(last ?? first);
}

function matches(expression: string, commandLine: string): boolean {
  try {
    return new RegExp(expression).test(commandLine);
  } catch {
    // The definition's own problems are told elsewhere.
    return false;
  }
}
