import { readDocument } from "../document.ts";
import { type Problem, ProblemCollector } from "../problem.ts";
import { validateDocument } from "../schema/explain.ts";
import { lockfileValidator } from "../schema/validators.ts";
import type { FeatureNode } from "./graph.ts";
import type { FeatureReference } from "./reference.ts";

/** What a lock file remembers of one feature ("Lockfiles"). */
export interface LockedFeature {
  version: string;
  /** The feature with its digest, or the tarball's address. */
  resolved: string;
  /** `sha256:` and 64 hexadecimal digits. */
  integrity: string;
  dependsOn?: string[];
}

/** `devcontainer-lock.json`: features by their identifier as `devcontainer.json` has it, in lower case. */
export interface Lockfile {
  features: Record<string, LockedFeature>;
}

/** One way in which a lock file differs from what was resolved. */
export interface LockDifference {
  feature: string;
  kind: "missing" | "unused" | "changed";
  /** In plain words. */
  message: string;
}

/** Reads and validates a lock file; without `lockfile` when there are errors. */
export function parseLockfile(text: string, { path }: { path: string }): { lockfile?: Lockfile; problems: Problem[] } {
  const { document, problem } = readDocument(text, path);
  if (!document) return { problems: [problem] };
  const problems = new ProblemCollector(document);
  validateDocument({ validator: lockfileValidator, document, problems, noun: "devcontainer-lock.json" });
  if (problems.hasErrors) return { problems: problems.sorted() };
  return { lockfile: document.value as Lockfile, problems: problems.sorted() };
}

/** What a lock file says of features that were resolved. Local ones are not recorded, nor is what has no digest. */
export function lockfileOf(nodes: readonly FeatureNode[]): Lockfile {
  const features = new Map<string, LockedFeature>();
  for (const { reference, metadata, digest } of nodes) {
    if (reference.kind === "local" || digest === undefined) continue;
    const resolved = reference.kind === "registry" ? `${reference.name}@${digest}` : reference.url;
    const dependsOn = Object.keys(metadata.dependsOn ?? {}).map((identifier) => identifier.toLowerCase());
    features.set(reference.kind === "registry" ? reference.written : reference.url.toLowerCase(), {
      version: metadata.version,
      resolved,
      integrity: digest,
      ...(dependsOn.length === 0 ? {} : { dependsOn: dependsOn.toSorted() }),
    });
  }
  return { features: Object.fromEntries(features) };
}

/**
 * The lock file for features that were resolved. Entries that still hold stay as they are written, those of features that are
 * not used any more go.
 */
export function updateLockfile(before: Lockfile | undefined, nodes: readonly FeatureNode[]): Lockfile {
  const written = new Map(Object.entries(before?.features ?? {}).map((entry) => [lockKey(entry[0]), entry]));
  const entries = Object.entries(lockfileOf(nodes).features).map(([feature, found]) => {
    const kept = written.get(lockKey(feature));
    return kept?.[1].integrity === found.integrity ? kept : ([feature, found] as const);
  });
  return { features: Object.fromEntries(entries) };
}

/** A lock file's text: the same for the same features, whatever order they came in. */
export function formatLockfile({ features }: Lockfile): string {
  const sorted = Object.entries(features).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const entries = sorted.map(([feature, { version, resolved, integrity, dependsOn }]) => [
    feature,
    { version, resolved, integrity, ...(dependsOn?.length ? { dependsOn: dependsOn.toSorted() } : {}) },
  ]);
  return `${JSON.stringify({ features: Object.fromEntries(entries) }, null, 2)}\n`;
}

/** How a lock file differs from features that were resolved now; empty when it still holds. */
export function compareLockfile(lockfile: Lockfile, nodes: readonly FeatureNode[]): LockDifference[] {
  const differences: LockDifference[] = [];
  const locked = new Map(Object.entries(lockfile.features).map(([feature, entry]) => [lockKey(feature), entry]));
  const resolved = new Map(
    Object.entries(lockfileOf(nodes).features).map(([feature, entry]) => [lockKey(feature), entry]),
  );
  for (const [feature, found] of resolved) {
    const entry = locked.get(feature);
    if (!entry) {
      differences.push({ feature, kind: "missing", message: `${feature} is not in the lock file` });
    } else if (entry.integrity !== found.integrity) {
      const message = `${feature} is locked at ${entry.version} (${entry.integrity}), found ${found.version} (${found.integrity})`;
      differences.push({ feature, kind: "changed", message });
    }
  }
  for (const feature of locked.keys()) {
    if (!resolved.has(feature))
      differences.push({ feature, kind: "unused", message: `${feature} is in the lock file but not used` });
  }
  return differences;
}

/** Where the lock file of a definition lies: beside it, hidden as it is. */
export function lockfilePath(configPath: string): string {
  return configPath.replace(/(^|\/)(\.?)devcontainer\.json$/, "$1$2devcontainer-lock.json");
}

/** What a lock file holds a feature to; undefined when it has none of it. */
export function lockedFeature({ features }: Lockfile, reference: FeatureReference): LockedFeature | undefined {
  if (reference.kind === "local") return undefined;
  const key = lockKey(reference.kind === "registry" ? reference.written : reference.url);
  return Object.entries(features).find(([feature]) => lockKey(feature) === key)?.[1];
}

/** `:latest` is what no version means; both are one entry. */
function lockKey(identifier: string): string {
  return identifier.toLowerCase().replace(/:latest$/, "");
}
