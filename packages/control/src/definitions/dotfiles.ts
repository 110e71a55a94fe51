import { DormouseError } from "@dormouse/base";
import { substituteLocal } from "@dormouse/devcontainer";
import type { BuildWatcher } from "./builder.ts";
import { type Definition, variablesOf } from "./definition.ts";
import type { HookPlace } from "./hooks.ts";
import { runLogged } from "./run.ts";

/** Whether a definition has personal settings that were not brought yet. */
export function hasDotfilesToBring({ dotfiles, done, isPrebuild }: Definition): boolean {
  return dotfiles !== null && !isPrebuild && !done.includes("dotfiles");
}

// As tools do that bring such repositories: the command, else the first script of a usual name, else links to all of it.
const script = `set -e
target=$1
case $target in "~/"*) target=$HOME/\${target#"~/"} ;; esac
if [ -e "$target" ]; then echo "$target is there already"; exit 0; fi
git clone --quiet --depth 1 -- "$2" "$target"
cd "$target"
if [ -n "$3" ]; then
  if [ -f "$3" ]; then chmod +x "$3"; exec "./$3"; fi
  exec /bin/sh -c "$3"
fi
for name in install.sh install bootstrap.sh bootstrap script/bootstrap setup.sh setup script/setup; do
  if [ -f "$name" ]; then chmod +x "$name"; exec "./$name"; fi
done
for file in .[!.]*; do
  case $file in .git|.gitignore|.gitmodules|.github) continue ;; esac
  ln -sf "$target/$file" "$HOME/$file"
done
`;

/** Brings them as the workspace's user. What fails is in the log: a workspace is none the worse without. */
export async function bringDotfiles(
  { guest, definition, owner, account, timeoutMs }: HookPlace,
  env: Record<string, string>,
  watcher: BuildWatcher,
  signal: AbortSignal,
): Promise<void> {
  if (!definition.dotfiles) return;
  const {
    repository,
    installCommand = "",
    targetPath = "~/dotfiles",
  } = substituteLocal(definition.dotfiles, variablesOf(owner));
  watcher.onLog(`=== dotfiles from ${repository}`);
  try {
    await runLogged({
      ...{ guest, what: "bringing dotfiles", cwd: account.home, user: account.name, timeoutMs, signal },
      command: ["/bin/sh", "-c", script, "sh", targetPath, repository, installCommand],
      env: { ...env, GIT_TERMINAL_PROMPT: "0" },
      onLine: watcher.onLog,
    });
  } catch (error) {
    watcher.onLog(DormouseError.from(error).message);
  }
}
