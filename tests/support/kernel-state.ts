import { readdir, readFile } from "node:fs/promises";
import { run } from "@dormouse/base/node";

/** What a platform holds in the kernel and on disk, as sorted names: equal before and after means that nothing leaked. */
export interface KernelState {
  namespaces: string[];
  links: string[];
  cgroups: string[];
  vmmProcesses: number;
  /** Programs that show files to machines while they are filled. */
  servingProcesses: number;
  machineFolders: string[];
  vmmFolders: string[];
  descriptors: number;
}

/** Looks at this machine as root; `namePrefix` and `dataDir` are the platform's, `pids` its own processes. */
export async function readKernelState(options: {
  namePrefix: string;
  dataDir: string;
  pids: readonly number[];
}): Promise<KernelState> {
  const { namePrefix, dataDir, pids } = options;
  const names = async (path: string) => (await readdir(path).catch(() => [])).sort();
  const links = JSON.parse((await run("ip", ["-json", "link"])).stdout) as { ifname: string }[];
  const cgroupFolders = await Promise.all(
    ["memory/dormouse", "cpu/dormouse", "pids/dormouse", "dormouse"].map((folder) => names(`/sys/fs/cgroup/${folder}`)),
  );
  const descriptors = await Promise.all(pids.map(async (pid) => (await names(`/proc/${pid}/fd`)).length));
  return {
    namespaces: (await names("/run/netns")).filter((name) => name.startsWith(namePrefix)),
    links: links
      .map(({ ifname }) => ifname)
      .filter((name) => name.startsWith(namePrefix))
      .sort(),
    cgroups: cgroupFolders
      .flat()
      .filter((name) => name.startsWith("vm-"))
      .sort(),
    vmmProcesses: await countProcesses("qemu-system", dataDir),
    servingProcesses: await countProcesses("serve-blocks", dataDir),
    machineFolders: await names(`${dataDir}/machines`),
    vmmFolders: await names(`${dataDir}/vmm`),
    descriptors: descriptors.reduce((sum, count) => sum + count, 0),
  };
}

async function countProcesses(name: string, dataDir: string): Promise<number> {
  let count = 0;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes(name) && command.includes(dataDir)) count++;
  }
  return count;
}
