import { readdirSync, readFileSync, statSync } from "node:fs";
import type { DebuggableProcess } from "@dormouse/contract/debug-schemas";

const ticksPerSecond = 100;

/**
 * The user's processes as /proc tells of them, newest first; kernel threads are none.
 * @param root whose processes, see {@link Machine}.
 */
export function listProcesses(root: string): DebuggableProcess[] {
  const names = namesOfUsers(root);
  const bootMs = Number(/^btime (\d+)$/m.exec(readFileSync(`${root}/proc/stat`, "latin1"))?.[1] ?? 0) * 1000;
  const processes: DebuggableProcess[] = [];
  for (const name of readdirSync(`${root}/proc`)) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const folder = `${root}/proc/${name}`;
      const command = readFileSync(`${folder}/cmdline`, "utf8").split("\0").filter(Boolean);
      if (command.length === 0) continue;
      const uid = statSync(folder).uid;
      // The program's name stands in brackets and may hold anything, brackets too: fields count from the last one.
      const stat = readFileSync(`${folder}/stat`, "latin1");
      const startTicks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
      const startedMs = bootMs + (startTicks * 1000) / ticksPerSecond;
      processes.push({ pid: Number(name), user: names.get(uid) ?? String(uid), command, startedMs });
    } catch {
      // It has ended meanwhile.
    }
  }
  return processes.sort((a, b) => b.startedMs - a.startedMs || b.pid - a.pid);
}

function namesOfUsers(root: string): Map<number, string> {
  const names = new Map<number, string>();
  try {
    for (const line of readFileSync(`${root}/etc/passwd`, "utf8").split("\n")) {
      const [name, , uid] = line.split(":");
      if (name && uid) names.set(Number(uid), name);
    }
  } catch {
    // An image without users has numbers only.
  }
  return names;
}
