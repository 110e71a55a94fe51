import { DormouseError } from "@dormouse/base";
import { checkVariables, configPropertiesWithId } from "./check-variables.ts";
import type { DevcontainerConfig } from "./config.ts";
import { checkCustomizations } from "./customizations.ts";
import { type JsonDocument, readDocument } from "./document.ts";
import { checkFeatures } from "./features/check.ts";
import { parseMount } from "./mounts.ts";
import { parseAppPort, parseForwardedPort, parsePortKey } from "./ports.ts";
import { formatValue, type Problem, ProblemCollector } from "./problem.ts";
import { knownProperties, validateDocument } from "./schema/explain.ts";
import { anySourceValidator, configValidators, type SourceKind, type Validator } from "./schema/validators.ts";
import { findSources, sourceNames } from "./source.ts";
import { oldestForm } from "./vscode.ts";

/** What a file says, and what is wrong with it. */
export interface ParsedConfig {
  /** Absent when there are errors. */
  config?: DevcontainerConfig;
  /** In the order in which they stand in the file. */
  problems: Problem[];
}

/** How a file is read. */
export interface ParseOptions {
  /** Named in every problem; relative to the repository, it also tells where local features may lie. */
  path: string;
  /** See `ReferenceOptions`. */
  defaultNamespace?: string;
}

/**
 * Reads a `devcontainer.json`: JSON with comments and trailing commas, held against the published schema, our own block
 * and what the specification says beyond them. Never throws for what a file contains.
 */
export function parseConfig(text: string, options: ParseOptions): ParsedConfig {
  const { document, problem } = readDocument(text, options.path);
  if (!document) return { problems: [problem] };
  const problems = new ProblemCollector(document);
  const { value } = document;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    problems.add([], `is ${formatValue(value)}: must be an object`);
    return { problems: problems.sorted() };
  }
  for (const path of document.duplicates) {
    problems.add(path, "is given twice: only the last one counts", { severity: "warning", atKey: true });
  }
  const kind = checkSource(document, value, problems);
  validateDocument({
    validator: kind === undefined ? anySourceValidator : configValidators[kind],
    document,
    problems,
    noun: "devcontainer.json",
    misplaced: (name) => oldestForm(name) ?? misplaced(name, kind),
  });
  checkFeatures(document, problems, options);
  checkValues(value, problems);
  checkCustomizations(document, problems);
  checkVariables(document, problems, configPropertiesWithId);
  if (problems.hasErrors) return { problems: problems.sorted() };
  return { config: value as DevcontainerConfig, problems: problems.sorted() };
}

/** Exactly one way to start must be named; undefined when it cannot be told which was meant. */
function checkSource(document: JsonDocument, value: object, problems: ProblemCollector): SourceKind | undefined {
  const sources = findSources(value);
  const [only, other] = sources;
  if (!only) {
    // The published schema wants one; many files in the world have none, and mean whatever is usual where they are opened.
    problems.add([], "names nothing to start from (image, build.dockerfile or dockerComposeFile): base is used", {
      severity: "warning",
    });
    return undefined;
  }
  if (other) {
    const names = sources.map(({ kind }) => sourceNames[kind]).join(" and ");
    problems.add(
      other.path,
      `cannot be combined: ${names} each say what to start from; only one of them may be there`,
      { atKey: true },
    );
    return undefined;
  }
  if (only.kind === "compose" && document.valueAt(["workspaceFolder"]) === undefined) {
    problems.add(["dockerComposeFile"], "stands without workspaceFolder: the repository is opened, not /", {
      severity: "warning",
      atKey: true,
    });
  }
  return only.kind;
}

/** Why a property that the schema knows elsewhere is of no use here. */
function misplaced(name: string, kind: SourceKind | undefined): string | undefined {
  if (kind === undefined) return undefined;
  const others = (Object.keys(configValidators) as SourceKind[]).filter((other) =>
    knows(configValidators[other], name),
  );
  if (others.length === 0) return undefined;
  return `has no meaning with ${sourceNames[kind]}, only with ${others.map((other) => sourceNames[other]).join(", ")}`;
}

function knows({ schema, definitions }: Validator, name: string): boolean {
  return knownProperties(schema, definitions).has(name);
}

/** What the schema cannot say: text with an inner form, and properties that need each other. */
function checkValues(value: object, problems: ProblemCollector): void {
  const { mounts, workspaceMount, workspaceFolder, forwardPorts, portsAttributes } = value as Record<string, unknown>;
  const { appPort } = value as Record<string, unknown>;
  for (const [index, mount] of listOf(mounts).entries()) {
    if (typeof mount === "string") attempt(() => parseMount(mount), ["mounts", index], problems);
  }
  if (typeof workspaceMount === "string" && workspaceMount !== "") {
    attempt(() => parseMount(workspaceMount), ["workspaceMount"], problems);
    if (workspaceFolder === undefined)
      problems.add(["workspaceMount"], "needs workspaceFolder beside it", { atKey: true });
  }
  for (const [index, port] of listOf(forwardPorts).entries()) {
    // What is no port at all was told by the schema; it has no upper limit for the one in "host:port".
    if (typeof port === "string" && /:\d{5}$/.test(port))
      attempt(() => parseForwardedPort(port), ["forwardPorts", index], problems);
  }
  for (const [index, entry] of listOf(Array.isArray(appPort) ? appPort : [appPort]).entries()) {
    // What has variables is known once they are replaced; what is neither text nor a number was told by the schema.
    if ((typeof entry !== "string" || entry.includes("${")) && typeof entry !== "number") continue;
    attempt(() => parseAppPort(entry), Array.isArray(appPort) ? ["appPort", index] : ["appPort"], problems);
  }
  if (typeof portsAttributes !== "object" || portsAttributes === null) return;
  for (const key of Object.keys(portsAttributes)) {
    const parsed = parsePortKey(key);
    if (parsed.kind === "invalid") problems.add(["portsAttributes", key], parsed.reason, { atKey: true });
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function attempt(read: () => unknown, path: (string | number)[], problems: ProblemCollector): void {
  try {
    read();
  } catch (error) {
    const { message, details } = DormouseError.from(error);
    problems.add(path, typeof details.problem === "string" ? details.problem : message);
  }
}
