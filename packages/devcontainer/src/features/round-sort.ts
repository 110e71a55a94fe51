import type { FeatureNode } from "./graph.ts";

/**
 * The order inside of one round ("Definition: Round Stable Sort"): by name, oldest version first, most given options
 * first, then by the options' names, their values, and at last by the digest.
 */
export function compareInRound(a: FeatureNode, b: FeatureNode): number {
  return (
    compareText(a.reference.name, b.reference.name) ||
    compareVersions(versionOf(a), versionOf(b)) ||
    Object.keys(b.given).length - Object.keys(a.given).length ||
    compareLists(optionNames(a), optionNames(b)) ||
    compareLists(optionValues(a), optionValues(b)) ||
    compareText(a.digest ?? a.reference.text, b.digest ?? b.reference.text)
  );
}

/** A feature that is pinned to a digest, a tarball or a folder has no tag: its own version takes its place. */
function versionOf({ reference, metadata }: FeatureNode): string {
  return (reference.kind === "registry" ? reference.tag : undefined) ?? metadata.version;
}

/**
 * From old to new, `latest` being the newest. A short tag such as `1` moves on to the newest version that it stands
 * for, so it counts as newer than all of those.
 */
function compareVersions(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "latest" || b === "latest") return a === "latest" ? 1 : -1;
  const [aParts, bParts] = [a.split("."), b.split(".")];
  for (let index = 0; index < Math.max(aParts.length, bParts.length); index++) {
    const [aPart, bPart] = [aParts[index], bParts[index]];
    if (aPart === undefined || bPart === undefined) return aPart === undefined ? 1 : -1;
    const difference = compareParts(aPart, bPart);
    if (difference !== 0) return difference;
  }
  return 0;
}

function compareParts(a: string, b: string): number {
  const bothNumbers = /^\d+$/.test(a) && /^\d+$/.test(b);
  return bothNumbers ? Number(a) - Number(b) : compareText(a, b);
}

function optionNames(node: FeatureNode): string[] {
  return Object.keys(node.given).toSorted(compareText);
}

function optionValues(node: FeatureNode): string[] {
  return optionNames(node).map((name) => String(node.given[name]));
}

function compareLists(a: readonly string[], b: readonly string[]): number {
  for (const [index, text] of a.entries()) {
    const difference = compareText(text, b[index] ?? "");
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** By code units, the same everywhere: no locale takes part. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
