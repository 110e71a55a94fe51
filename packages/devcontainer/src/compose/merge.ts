import type { JsonPath } from "../document.ts";
import { formatPath } from "../problem.ts";
import type { Mapping } from "./canonical.ts";

/** What a later file says of single values, beside giving them. */
export type MergeTags = readonly { path: JsonPath; tag: "reset" | "override" }[];

/** Lists of which a later one takes the place of an earlier one. */
const replaced = new Set(["command", "entrypoint", "test"]);

/** Lists of which each entry is known by something of it: a later one of the same name takes its place. */
const keys: Readonly<Record<string, (entry: Mapping) => unknown[]>> = {
  ports: ({ host_ip, published, target, protocol }) => [host_ip, published, target, protocol],
  volumes: ({ target }) => [target],
  secrets: ({ source, target }) => [target ?? source],
  configs: ({ source, target }) => [target ?? source],
  env_file: ({ path }) => [path],
};

/**
 * Merges what a later file says over an earlier one, both in their long form: mappings by name, lists one after the other,
 * each value once, and what is known by a port, a path or a name by that.
 * https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
 */
export function mergeCompose(before: unknown, after: unknown, tags: MergeTags = [], path: JsonPath = []): unknown {
  const tag = tags.find((candidate) => formatPath(candidate.path) === formatPath(path))?.tag;
  if (tag === "reset") return undefined;
  if (tag === "override" || before === undefined || before === null) return after;
  if (after === undefined || after === null) return before;
  const name = String(path.at(-1));
  if (Array.isArray(before) && Array.isArray(after)) return mergeLists(before, after, name);
  if (!isMapping(before) || !isMapping(after)) return after;
  const merged: Mapping = { ...before };
  for (const [key, value] of Object.entries(after)) {
    const result = mergeCompose(before[key], value, tags, [...path, key]);
    if (result === undefined) delete merged[key];
    else merged[key] = result;
  }
  return merged;
}

function mergeLists(before: unknown[], after: unknown[], name: string): unknown[] {
  if (replaced.has(name)) return after;
  const keyOf = keys[name];
  const texts = new Map<string, unknown>();
  for (const entry of [...before, ...after]) {
    texts.set(JSON.stringify(keyOf && isMapping(entry) ? keyOf(entry) : entry), entry);
  }
  return [...texts.values()];
}

export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
