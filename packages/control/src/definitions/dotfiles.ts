import { DormouseError } from "@dormouse/base";
import type { Dotfiles } from "@dormouse/contract";
import { substituteLocal } from "@dormouse/devcontainer";
import type { BuildWatcher } from "./builder.ts";
import { type Definition, type VariableOwner, variablesOf } from "./definition.ts";
import type { HookPlace } from "./hooks.ts";
import { runLogged } from "./run.ts";

/** Those that a definition proposes for its workspace; a person's own go before them. */
export function proposedDotfiles({ dotfiles }: Definition, owner: VariableOwner): Dotfiles | null {
  if (!dotfiles) return null;
  const { repository, installCommand = null, targetPath = null } = substituteLocal(dotfiles, variablesOf(owner));
  return { repository, installCommand, targetPath };
}

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
# What is a folder here already keeps what is in it.
link() {
  if [ -d "$1" ] && [ -d "$2" ] && [ ! -L "$2" ]; then
    for below in "$1"/* "$1"/.[!.]*; do if [ -e "$below" ]; then link "$below" "$2/\${below##*/}"; fi; done
  else
    ln -sfn "$1" "$2"
  fi
}
for file in .[!.]*; do
  case $file in .git|.gitignore|.gitmodules|.github) continue ;; esac
  if [ -e "$file" ]; then link "$target/$file" "$HOME/$file"; fi
done
`;

/** Brings them as the workspace's user. What fails is in the log: a workspace is none the worse without. */
export async function bringDotfiles(
  { guest, account, timeoutMs }: HookPlace,
  { repository, installCommand, targetPath }: Dotfiles,
  { env, watcher, signal }: { env: Record<string, string>; watcher: BuildWatcher; signal: AbortSignal },
): Promise<void> {
  watcher.onLog(`=== dotfiles from ${repository}`);
  try {
    await runLogged({
      ...{ guest, what: "bringing dotfiles", cwd: account.home, user: account.name, timeoutMs, signal },
      command: ["/bin/sh", "-c", script, "sh", targetPath ?? "~/dotfiles", repository, installCommand ?? ""],
      env: { ...env, GIT_TERMINAL_PROMPT: "0" },
      onLine: watcher.onLog,
    });
  } catch (error) {
    signal.throwIfAborted();
    watcher.onLog(DormouseError.from(error).message);
  }
}
