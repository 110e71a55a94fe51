import { readdir, readFile } from "node:fs/promises";

/** Kills a program of the egress policy that a host daemon has started; one that is just not there is left so. */
export async function killEgressProgram(hostPid: number, name: "egress-proxy" | "egress-maps"): Promise<void> {
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    // Processes come and go while they are looked at.
    const text = await readFile(`/proc/${entry}/stat`, "utf8").catch(() => "");
    const [, command, parent] = /^\d+ \((.*)\) \S (\d+)/.exec(text) ?? [];
    if (command === name && Number(parent) === hostPid) process.kill(Number(entry), "SIGKILL");
  }
}
