import { DormouseError } from "@dormouse/base";
import type { PersonalSetup } from "@dormouse/contract";
import type { BuildWatcher } from "./builder.ts";
import type { HookPlace } from "./hooks.ts";
import { runLogged } from "./run.ts";

// Where git looks last, so that a file of the person's own goes before it; but a file that came with the image does not.
const gitScript = `set -e
config=\${XDG_CONFIG_HOME:-$HOME/.config}/git/config
identify() {
  if [ -z "$2" ]; then return; fi
  if [ "$mode" = missing ] && git config --global --get "$1" >/dev/null 2>&1; then return; fi
  if [ -e "$HOME/.gitconfig" ]; then git config --global "$1" "$2"; return; fi
  mkdir -p "\${config%/*}"
  git config --file "$config" "$1" "$2"
}
mode=$1
identify user.name "$2"
identify user.email "$3"
`;

const shellScript = `set -e
case $2 in /*) shell=$2 ;; *) shell=$(command -v "$2") || shell= ;; esac
if [ ! -x "$shell" ]; then echo "there is no $2 in this machine"; exit 1; fi
changed=$(awk -F: -v OFS=: -v user="$1" -v shell="$shell" '$1 == user { $7 = shell } { print }' /etc/passwd)
printf '%s\\n' "$changed" >/etc/passwd
`;

/** Who works in a workspace, as git and terminals are to know it. What fails is in the log: a workspace is none the worse without. */
export async function bringIdentity(
  { guest, account, timeoutMs }: HookPlace,
  setup: Pick<PersonalSetup, "shell" | "gitName" | "gitEmail">,
  options: { env: Record<string, string>; isFirst: boolean; watcher: BuildWatcher; signal: AbortSignal },
): Promise<void> {
  const { env, isFirst, watcher, signal } = options;
  const { shell, gitName, gitEmail } = setup;
  const script = async (what: string, user: string, text: string, args: string[]) => {
    watcher.onLog(`=== ${what}`);
    const command = ["/bin/sh", "-c", text, "sh", ...args];
    const how = { guest, what, command, cwd: "/", user, env, timeoutMs, onLine: watcher.onLog, signal };
    await runLogged(how).catch((error: unknown) => {
      signal.throwIfAborted();
      watcher.onLog(DormouseError.from(error).message);
    });
  };
  if (gitName !== null || gitEmail !== null) {
    const mode = isFirst ? "all" : "missing";
    await script("who commits", account.name, gitScript, [mode, gitName ?? "", gitEmail ?? ""]);
  }
  if (isFirst && shell !== null) await script(`the shell ${shell}`, "root", shellScript, [account.name, shell]);
}
