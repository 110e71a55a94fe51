import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { DormouseError } from "@dormouse/base";
import type { Cgroup } from "./cgroup.ts";
import { tryPriority } from "./process.ts";
import type { MachineSlot } from "./vmm.ts";

/** What a VMM may have and be. */
export interface Jail {
  slot: MachineSlot;
  /** Absent: it is put into one when it is known which machine it will be. */
  cgroup?: Cgroup;
  /** Path of the mount namespace to enter, see {@link createFileView}; absent: the host's files, in a namespace of its own. */
  fileView?: string;
  /** Groups beside the slot's own, e.g. that of /dev/kvm. */
  groups?: readonly number[];
  /** What the command finds in its environment beside the path; all of the host's may read it. */
  environment?: Readonly<Record<string, string>>;
  /** Receives standard output and error; its size is the owner's business. */
  logFile: string;
  /** Whether the command reads something from its standard input; default no. */
  hasInput?: boolean;
}

/**
 * Starts `command` as a prisoner: in its own control group from the first instruction
 * on, in the slot's network namespace, in IPC and UTS namespaces of its own, with only
 * those of the host's files that a VMM needs, as the slot's user, with no capabilities, now or ever, without core dumps (they would
 * hold the guest's memory), and in a session of its own, so that it outlives the
 * daemon that started it. Each step replaces the process, so the child's pid is the VMM's.
 */
export function spawnJailed(jail: Jail, command: readonly string[]): ChildProcess {
  const log = openSync(jail.logFile, "a", 0o600);
  try {
    const child = spawn("/bin/sh", jailArguments(jail, command), {
      cwd: "/",
      detached: true,
      stdio: [jail.hasInput ? "pipe" : "ignore", log, log],
      // Nothing of the daemon's environment, which may hold secrets, is for the VMM.
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C" },
    });
    // The daemon's own work goes before that of its machines.
    if (child.pid !== undefined) tryPriority(child.pid, 0);
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** The process id of a child that was started; rejects when it could not be. */
export async function spawned(child: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once("error", (error) => reject(DormouseError.from(error)));
    child.once("spawn", () => resolve(child.pid ?? 0));
  });
}

// $1 is how many cgroup files follow. A cgroup that cannot be joined ends the launch.
const entry = `
set -e
count=$1; shift
while [ "$count" -gt 0 ]; do echo $$ >"$1"; shift; count=$((count - 1)); done
ulimit -c 0; ulimit -n 1024
echo 300 >/proc/self/oom_score_adj
exec "$@"`;

/** The arguments to /bin/sh that lead into the jail. */
export function jailArguments(jail: Jail, command: readonly string[]): string[] {
  const { slot, fileView } = jail;
  const procsFiles = jail.cgroup?.procsFiles ?? [];
  // Set for the last command alone: what it preloads is not for those that lead to it.
  const environment = Object.entries(jail.environment ?? {}).map(([name, value]) => `${name}=${value}`);
  const groups = jail.groups?.length ? `--groups=${jail.groups.join(",")}` : "--clear-groups";
  return [
    ...["-c", entry, "jail", String(procsFiles.length), ...procsFiles],
    ...["nsenter", `--net=/run/netns/${slot.namespace}`, ...(fileView ? [`--mount=${fileView}`] : []), "--"],
    ...["unshare", ...(fileView ? [] : ["--mount"]), "--ipc", "--uts", "--"],
    ...["setpriv", `--reuid=${slot.uid}`, `--regid=${slot.gid}`, groups],
    ...["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"],
    ...(environment.length > 0 ? ["env", ...environment] : []),
    ...command,
  ];
}
