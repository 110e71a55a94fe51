import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  type ComposePlan,
  chooseConfig,
  type DevcontainerConfig,
  type FeatureMetadata,
  findConfigs,
  locate,
  type Problem,
  parseConfig,
  parseFeatureMetadata,
  parseFeatureReference,
  planCompose,
  readComposeProject,
  sourceOf,
} from "@dormouse/devcontainer";

/** A definition as it lies on disk. */
export interface Definition {
  /** As problems name it: below the path that was given. */
  path: string;
  text: string;
  /** Absent when there are errors. */
  config?: DevcontainerConfig;
  problems: Problem[];
  /** Of features that lie beside it, by their path in `features`. */
  localFeatures: Map<string, FeatureMetadata>;
  /** What its Compose files say. */
  compose?: ComposePlan;
}

/** Which definitions are read. */
export interface ReadOptions {
  /** One of several, by its folder's name or its path in the repository. */
  config?: string;
  defaultNamespace?: string;
}

/**
 * Reads the definitions of a repository's folder, or the one file that `path` is.
 * @throws DormouseError `not_found` when there is none.
 */
export async function readDefinitions(path: string, options: ReadOptions): Promise<Definition[]> {
  const kind = await stat(path).catch((error: unknown) => {
    throw fileError(error, path);
  });
  if (!kind.isDirectory()) return [await readDefinition(path, options)];
  const found = findConfigs(await candidates(path));
  const chosen = options.config !== undefined || found.length === 0 ? [chooseConfig(found, options.config)] : found;
  return Promise.all(chosen.map((config) => readDefinition(join(path, config.path), options)));
}

/** Paths in the repository that may be definitions: nothing else of it is read. */
async function candidates(root: string): Promise<string[]> {
  const folders = await readdir(join(root, ".devcontainer"), { withFileTypes: true }).catch(() => []);
  const paths = [
    ".devcontainer/devcontainer.json",
    ".devcontainer.json",
    ...folders.filter((entry) => entry.isDirectory()).map(({ name }) => `.devcontainer/${name}/devcontainer.json`),
  ];
  const present = await Promise.all(paths.map((path) => isFile(join(root, path))));
  return paths.filter((_, index) => present[index]);
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ?? false;
}

async function readDefinition(path: string, { defaultNamespace }: ReadOptions): Promise<Definition> {
  const text = await readText(path);
  const parsed = parseConfig(text, { path, ...(defaultNamespace === undefined ? {} : { defaultNamespace }) });
  const definition: Definition = { path, text, ...parsed, localFeatures: new Map() };
  for (const identifier of Object.keys(parsed.config?.features ?? {})) {
    try {
      await readLocalFeature(identifier, definition);
    } catch (error) {
      addProblem(definition, ["features", identifier], error);
    }
  }
  await readCompose(definition);
  if (definition.problems.some(({ severity }) => severity === "error")) delete definition.config;
  return definition;
}

/** Variables have no values here, as for a workspace that is created without an environment. */
async function readCompose(definition: Definition): Promise<void> {
  const { config, path, problems } = definition;
  const source = config && sourceOf(config);
  if (source?.kind !== "compose" || source.files.some((file) => file.includes("${"))) return;
  const { project, problems: more } = await readComposeProject({
    files: source.files.map((file) => join(dirname(path), file)),
    env: {},
    read: (file) => readFile(file, "utf8").catch(() => undefined),
  });
  problems.push(...more);
  if (!project) return;
  try {
    definition.compose = planCompose(project, { service: source.service, runServices: config?.runServices });
  } catch (caught) {
    const { message, details } = DormouseError.from(caught);
    if (details.file === undefined) return addProblem(definition, ["service"], caught);
    const { file, line, column } = details as { file: string; line: number; column: number };
    problems.push({ severity: "error", file, line, column, property: "", message });
  }
}

/** Adds what went wrong with a property of a definition to its problems. */
export function addProblem(definition: Definition, path: string[], caught: unknown): void {
  const { message } = DormouseError.from(caught);
  const property = path.length === 1 ? `${path[0]}` : `${path[0]}[${JSON.stringify(path[1])}]`;
  const place = locate(definition.text, path);
  definition.problems.push({ severity: "error", file: definition.path, ...place, property, message });
}

/** Reads the metadata of a feature beside the definition, and of those that it depends on. */
async function readLocalFeature(identifier: string, definition: Definition): Promise<void> {
  if (!/^\.{0,2}\//.test(identifier)) return;
  const { text } = parseFeatureReference(identifier);
  if (definition.localFeatures.has(text)) return;
  const path = join(dirname(definition.path), text, "devcontainer-feature.json");
  const { metadata, problems } = parseFeatureMetadata(await readText(path), { path });
  definition.problems.push(...problems);
  if (!metadata) return;
  definition.localFeatures.set(text, metadata);
  for (const needed of Object.keys(metadata.dependsOn ?? {})) await readLocalFeature(needed, definition);
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    throw fileError(error, path);
  });
}

function fileError(caught: unknown, path: string): DormouseError {
  const error = DormouseError.from(caught);
  return error.code === "not_found" ? new DormouseError("not_found", `there is no ${path}`, { cause: caught }) : error;
}
