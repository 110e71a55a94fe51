import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  chooseConfig,
  type DevcontainerConfig,
  type FeatureMetadata,
  findConfigs,
  type Problem,
  parseConfig,
  parseFeatureMetadata,
  parseFeatureReference,
} from "@dormouse/devcontainer";

/** A definition as it lies on disk. */
export interface Definition {
  /** As problems name it: below the path that was given. */
  path: string;
  /** Absent when there are errors. */
  config?: DevcontainerConfig;
  problems: Problem[];
  /** Of features that lie beside it, by their path in `features`. */
  localFeatures: ReadonlyMap<string, FeatureMetadata>;
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
  const parsed = parseConfig(await readText(path), {
    path,
    ...(defaultNamespace === undefined ? {} : { defaultNamespace }),
  });
  const definition = { path, ...parsed, localFeatures: new Map<string, FeatureMetadata>() };
  await readLocalFeatures(definition, Object.keys(parsed.config?.features ?? {}));
  if (definition.problems.some(({ severity }) => severity === "error")) delete definition.config;
  return definition;
}

/** Reads the metadata of features beside the definition, and of those that these depend on. */
async function readLocalFeatures(
  definition: Definition & { localFeatures: Map<string, FeatureMetadata> },
  identifiers: readonly string[],
): Promise<void> {
  for (const identifier of identifiers) {
    if (!/^\.{0,2}\//.test(identifier)) continue;
    const { text } = parseFeatureReference(identifier);
    if (definition.localFeatures.has(text)) continue;
    const path = join(dirname(definition.path), text, "devcontainer-feature.json");
    const { metadata, problems } = parseFeatureMetadata(await readText(path), { path });
    definition.problems.push(...problems);
    if (!metadata) continue;
    definition.localFeatures.set(text, metadata);
    await readLocalFeatures(definition, Object.keys(metadata.dependsOn ?? {}));
  }
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
