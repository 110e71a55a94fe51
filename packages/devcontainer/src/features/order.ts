import { DormouseError } from "@dormouse/base";
import type { FeatureValue } from "../config.ts";
import { buildGraph, type FeatureNode, type GraphOptions, nameOf } from "./graph.ts";
import { namesOf, type ReferenceOptions } from "./reference.ts";
import { compareInRound } from "./round-sort.ts";

/** What decides in which order features are installed. */
export interface OrderOptions extends GraphOptions {
  features: Readonly<Record<string, FeatureValue>>;
  /** Names of features without version, the first to be installed as early as can be. */
  overrideFeatureInstallOrder?: readonly string[];
}

/**
 * Features in the order in which they are installed, each once with its options, dependencies included ("Dependency
 * installation order algorithm").
 * @throws DormouseError `failed_precondition` for a cycle, which it names, and for an override that contradicts the
 * dependencies; `not_found` and `invalid_argument` as {@link buildGraph}.
 */
export function installationOrder(options: OrderOptions): FeatureNode[] {
  const override = options.overrideFeatureInstallOrder ?? [];
  const nodes = buildGraph(options.features, options);
  const order = sortInRounds(nodes, (node) => priorityOf(node, override, options));
  refuseContradiction(nodes, override, options);
  return order;
}

function sortInRounds(nodes: readonly FeatureNode[], priority: (node: FeatureNode) => number): FeatureNode[] {
  const order = new Set<FeatureNode>();
  while (order.size < nodes.length) {
    const ready = nodes.filter((node) => !order.has(node) && dependenciesOf(node).every((other) => order.has(other)));
    if (ready.length === 0) throw cycleError(nodes.filter((node) => !order.has(node)));
    const highest = Math.max(...ready.map(priority));
    const round = ready.filter((node) => priority(node) === highest);
    for (const node of round.toSorted(compareInRound)) order.add(node);
  }
  return [...order];
}

function dependenciesOf(node: FeatureNode): FeatureNode[] {
  return [...node.hard, ...node.soft];
}

/** The first of n names has priority n, the last 1; all other features have 0 ("Assigning round priority"). */
function priorityOf(node: FeatureNode, override: readonly string[], options: ReferenceOptions): number {
  const names = namesOf(node.reference, node.metadata.legacyIds);
  const index = override.findIndex((text) => names.includes(nameOf(text, options) ?? ""));
  return index < 0 ? 0 : override.length - index;
}

/** Every node left waits for another of them: following these ends in a circle. */
function cycleError(left: readonly FeatureNode[]): DormouseError {
  const waiting = new Set(left);
  const path: FeatureNode[] = [];
  let node = left[0];
  while (node && !path.includes(node)) {
    path.push(node);
    node = dependenciesOf(node).find((other) => waiting.has(other));
  }
  const cycle = node ? [...path.slice(path.indexOf(node)), node] : path;
  const names = cycle.map(({ reference }) => reference.text);
  return new DormouseError(
    "failed_precondition",
    `features depend on each other in a circle: ${names.join(" → ")}; one of their dependsOn or installsAfter must go`,
    { details: { cycle: names } },
  );
}

/** A name that stands before one that it depends on asks for what cannot be ("overrideFeatureInstallOrder"). */
function refuseContradiction(
  nodes: readonly FeatureNode[],
  override: readonly string[],
  options: ReferenceOptions,
): void {
  const priorities = new Map(nodes.map((node) => [node, priorityOf(node, override, options)]));
  for (const node of nodes) {
    const own = priorities.get(node) ?? 0;
    const earlier = allDependencies(node).find((other) => {
      const priority = priorities.get(other) ?? 0;
      return priority > 0 && priority < own;
    });
    if (!earlier) continue;
    const [first, second] = [node.reference.name, earlier.reference.name];
    throw new DormouseError(
      "failed_precondition",
      `overrideFeatureInstallOrder has ${first} before ${second}: ${first} depends on ${second} and must stand behind it`,
      { details: { feature: first, dependency: second } },
    );
  }
}

function allDependencies(node: FeatureNode): FeatureNode[] {
  const found = new Set<FeatureNode>();
  const visit = (from: FeatureNode) => {
    for (const other of dependenciesOf(from)) {
      if (found.has(other)) continue;
      found.add(other);
      visit(other);
    }
  };
  visit(node);
  return [...found];
}
