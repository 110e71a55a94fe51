import { DormouseError } from "@dormouse/base";
import type { FeatureValue } from "../config.ts";
import type { FeatureMetadata } from "./metadata.ts";
import { type FeatureOptions, givenOptions, type ResolvedOptions, resolveOptions } from "./options.ts";
import { type FeatureReference, namesOf, parseFeatureReference, type ReferenceOptions } from "./reference.ts";

/** What a caller found behind a feature's identifier. */
export interface FeatureContents {
  metadata: FeatureMetadata;
  /** The manifest's digest of a feature in a registry, the hash of a tarball; a local feature needs none. */
  digest?: string;
}

/** Answers what is behind an identifier; undefined when there is nothing. */
export type FeatureLookup = (reference: FeatureReference) => FeatureContents | undefined;

/** A feature that is to be installed, with these options. */
export interface FeatureNode {
  reference: FeatureReference;
  metadata: FeatureMetadata;
  digest?: string;
  /** What the user or a dependent feature gave. */
  given: FeatureOptions;
  resolved: ResolvedOptions;
  /** Must be installed before: `dependsOn`. */
  hard: FeatureNode[];
  /** Installed before if at all: `installsAfter`. */
  soft: FeatureNode[];
}

/** What the graph is built from. */
export interface GraphOptions extends ReferenceOptions {
  lookup: FeatureLookup;
}

/**
 * Every feature that is to be installed, with what it depends on ("Dependency installation order algorithm", step 1).
 * Equal features are one node.
 * @throws DormouseError `not_found` for a feature that `lookup` does not know, `invalid_argument` for identifiers and
 * options.
 */
export function buildGraph(features: Readonly<Record<string, FeatureValue>>, options: GraphOptions): FeatureNode[] {
  const nodes: FeatureNode[] = [];
  const add = (identifier: string, value: FeatureValue, dependent: FeatureNode | undefined): FeatureNode => {
    const node = createNode(identifier, value, { ...options, dependent });
    const known = nodes.find((other) => equalFeatures(other, node));
    if (known) return known;
    nodes.push(node);
    for (const [needed, neededValue] of Object.entries(node.metadata.dependsOn ?? {})) {
      node.hard.push(add(needed, neededValue, node));
    }
    return node;
  };
  for (const [identifier, value] of Object.entries(features)) add(identifier, value, undefined);
  for (const node of nodes) node.soft.push(...softDependencies(node, nodes, options));
  return nodes;
}

function createNode(
  identifier: string,
  value: FeatureValue,
  { dependent, lookup, ...referenceOptions }: GraphOptions & { dependent: FeatureNode | undefined },
): FeatureNode {
  const reference = parseFeatureReference(identifier, referenceOptions);
  const contents = lookup(reference);
  if (!contents) {
    const by = dependent ? `, which ${dependent.reference.text} depends on,` : "";
    throw new DormouseError("not_found", `feature ${reference.text}${by} was not found`, {
      details: { feature: reference.text },
    });
  }
  const { metadata, digest } = contents;
  const resolved = resolveOptions(metadata, value);
  return {
    reference,
    metadata,
    ...(digest === undefined ? {} : { digest }),
    given: givenOptions(value),
    resolved,
    hard: [],
    soft: [],
  };
}

/**
 * Whether two features are the same ("Definition: Feature Equality"): the same contents, installed with the same
 * options. Local features are the same only when they are one folder.
 */
export function equalFeatures(a: FeatureNode, b: FeatureNode): boolean {
  return contentsOf(a) === contentsOf(b) && sameOptions(a.resolved.options, b.resolved.options);
}

/** What tells contents apart: the digest where there is one, else the identifier. */
function contentsOf({ reference, digest }: FeatureNode): string {
  if (reference.kind === "local") return reference.path;
  return digest ?? (reference.kind === "registry" ? reference.digest : undefined) ?? reference.text;
}

function sameOptions(a: FeatureOptions, b: FeatureOptions): boolean {
  const names = Object.keys(a);
  // Options reach the script as text: true and "true" are the same value there.
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && String(a[name]) === String(b[name]))
  );
}

function softDependencies(node: FeatureNode, nodes: readonly FeatureNode[], options: ReferenceOptions): FeatureNode[] {
  const wanted = new Set((node.metadata.installsAfter ?? []).flatMap((text) => nameOf(text, options) ?? []));
  return nodes.filter(
    (other) =>
      other.reference.name !== node.reference.name &&
      namesOf(other.reference, other.metadata.legacyIds).some((name) => wanted.has(name)),
  );
}

/** The name that `installsAfter` or `overrideFeatureInstallOrder` means, whatever version stands behind it. */
export function nameOf(text: string, options: ReferenceOptions): string | undefined {
  try {
    return parseFeatureReference(text, options).name;
  } catch {
    // Feature authors write what they like here; what names no feature can be no dependency.
    return undefined;
  }
}
