import type { DevcontainerConfig } from "./config.ts";
import { type Mount, parseMount } from "./mounts.ts";
import { sourceOf } from "./source.ts";
import { baseName, type LocalVariables, substituteLocal } from "./variables.ts";

/** Where the repository lies in the container. */
export interface ResolvedWorkspace {
  /** Where tools open, and lifecycle commands run. */
  folder: string;
  /** How the repository gets there; absent where the file says nothing or asks for no mount. */
  mount?: Mount;
}

/** What is known of a repository before its machine runs. */
export interface WorkspaceOptions extends Pick<LocalVariables, "localEnv" | "localWorkspaceFolder" | "devcontainerId"> {
  /** Taken when the file names no folder; `/workspaces/NAME` of the repository's folder when not given. */
  defaultFolder?: string;
}

/**
 * Where a configuration wants the repository ("workspaceFolder and workspaceMount"), variables replaced. With Compose
 * the default is `/`.
 * @throws DormouseError `invalid_argument` for a mount that cannot be read.
 */
export function workspaceOf(config: DevcontainerConfig, options: WorkspaceOptions): ResolvedWorkspace {
  const { defaultFolder = `/workspaces/${baseName(options.localWorkspaceFolder)}` } = options;
  const isCompose = sourceOf(config).kind === "compose";
  const folder = substituteLocal(config.workspaceFolder ?? (isCompose ? "/" : defaultFolder), options);
  if (isCompose || !config.workspaceMount) return { folder };
  const mount = substituteLocal(config.workspaceMount, { ...options, containerWorkspaceFolder: folder });
  return { folder, mount: parseMount(mount) };
}
