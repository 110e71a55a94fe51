import { DormouseError } from "@dormouse/base";

/** A configuration that a repository holds. */
export interface FoundConfig {
  /** As it stands in the list of paths. */
  path: string;
  /** The folder under `.devcontainer` that it lies in; undefined at the two usual places. */
  folder?: string;
}

const usualPaths = [".devcontainer/devcontainer.json", ".devcontainer.json"];
const folderPattern = /^\.devcontainer\/([^/]+)\/devcontainer\.json$/;

/**
 * The configurations among a repository's paths (relative, with `/`), in the specification's order of precedence
 * ("devcontainer.json"): the two usual places, then folders under `.devcontainer` by name, one level deep.
 */
export function findConfigs(paths: Iterable<string>): FoundConfig[] {
  const all = new Set(paths);
  const usual: FoundConfig[] = usualPaths.filter((path) => all.has(path)).map((path) => ({ path }));
  const inFolders: FoundConfig[] = [];
  for (const path of all) {
    const folder = folderPattern.exec(path)?.[1];
    if (folder !== undefined) inFolders.push({ path, folder });
  }
  return [...usual, ...inFolders.toSorted((a, b) => (a.path < b.path ? -1 : 1))];
}

/**
 * Chooses one of the configurations that were found, by its folder's name or its path. Without a name the only one is
 * taken, or the first of the two usual places.
 * @throws DormouseError `not_found` when there is none (of this name), `failed_precondition` when there are several in
 * folders and none is named.
 */
export function chooseConfig(found: readonly FoundConfig[], name?: string): FoundConfig {
  const [first] = found;
  if (!first) {
    throw new DormouseError(
      "not_found",
      `there is no devcontainer.json: looked for ${usualPaths.join(", ")} and .devcontainer/FOLDER/devcontainer.json`,
    );
  }
  if (name !== undefined) {
    const named = found.find(({ path, folder }) => path === name || folder === name);
    if (named) return named;
    throw new DormouseError("not_found", `there is no configuration ${JSON.stringify(name)}: there ${listed(found)}`);
  }
  if (found.length === 1 || first.folder === undefined) return first;
  throw new DormouseError(
    "failed_precondition",
    `one configuration must be chosen by its name: there ${listed(found)}`,
    {
      details: { configurations: found.map(({ path }) => path) },
    },
  );
}

function listed(found: readonly FoundConfig[]): string {
  const names = found.map(({ path, folder }) => folder ?? path);
  return `${names.length === 1 ? "is" : "are"} ${names.join(", ")}`;
}
