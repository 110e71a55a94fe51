import { constants } from "node:fs";
import { access, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DormouseError, sleep } from "@dormouse/base";

/** What the kernel holds a machine to. */
export interface CgroupLimits {
  memoryMib: number;
  /** Threads of the VMM. */
  processes: number;
  /** CPUs the machine may use at most, e.g. 1.25. */
  cpus: number;
  /** Share of a busy host relative to other machines, 1 to 10000. */
  cpuWeight: number;
}

/** One machine's control group: the folder, or with version 1 the folders, that hold it. */
export interface Cgroup {
  readonly name: string;
  /** Files to write the process id into, which moves the process here. */
  readonly procsFiles: readonly string[];
  /** Ids of the processes in it. */
  processes(): Promise<number[]>;
  /** How often the kernel killed a process in it for lack of memory. */
  outOfMemoryKills(): Promise<number>;
  usage(): Promise<{ cpuMs: number; memoryMib: number }>;
  /** Kills what is in it and removes it; resolves when it is gone. */
  remove(): Promise<void>;
}

/** How this host's control groups are laid out. */
export interface CgroupSystem {
  version: 1 | 2 | "none";
  /** Creates a group, or opens it when it is there. */
  create(name: string, limits: CgroupLimits): Promise<Cgroup>;
  open(name: string): Cgroup;
}

const root = "/sys/fs/cgroup";
const parent = "dormouse";
const v1Controllers = ["memory", "cpu", "cpuacct", "pids"] as const;
const periodUs = 100_000;

/**
 * All machines together weigh as much as this many busy processes of the host per core:
 * enough not to starve beside them, and not so much that the daemon would.
 */
const processesPerCore = 2;

/**
 * Finds out which control groups this host has: version 2 with its controllers, else
 * version 1 hierarchies, else none (then only process limits hold a machine).
 */
export async function detectCgroups(): Promise<CgroupSystem> {
  if (await canWrite(join(root, "cgroup.subtree_control"))) {
    const controllers = (await readFile(join(root, "cgroup.controllers"), "utf8")).trim().split(" ");
    if (["memory", "cpu", "pids"].every((name) => controllers.includes(name))) return version2();
  }
  const hasV1 = await Promise.all(v1Controllers.map((name) => canWrite(join(root, name, "cgroup.procs"))));
  return hasV1.every(Boolean) ? version1() : none();
}

function version2(): CgroupSystem {
  const folder = (name: string) => join(root, parent, name);
  const open = (name: string): Cgroup =>
    group({
      name,
      folders: [folder(name)],
      procsFiles: [join(folder(name), "cgroup.procs")],
      async outOfMemoryKills() {
        return readField(join(folder(name), "memory.events"), "oom_kill");
      },
      async usage() {
        const memoryBytes = await readNumber(join(folder(name), "memory.current"));
        const cpuUs = await readField(join(folder(name), "cpu.stat"), "usage_usec");
        return { cpuMs: cpuUs / 1000, memoryMib: memoryBytes / 1024 ** 2 };
      },
    });
  return {
    version: 2,
    open,
    async create(name, limits) {
      await writeFile(join(root, "cgroup.subtree_control"), "+memory +cpu +pids");
      await mkdir(join(root, parent), { recursive: true });
      await writeFile(join(root, parent, "cgroup.subtree_control"), "+memory +cpu +pids");
      await writeFile(join(root, parent, "cpu.weight"), String(Math.min(10_000, parentProcesses() * 100)));
      await mkdir(folder(name), { recursive: true });
      await Promise.all([
        writeFile(join(folder(name), "memory.max"), String(limits.memoryMib * 1024 ** 2)),
        writeFile(join(folder(name), "memory.swap.max"), "0").catch(() => {
          // A kernel without swap accounting has no such file, and then no swap to limit either.
        }),
        writeFile(join(folder(name), "cpu.max"), `${Math.round(limits.cpus * periodUs)} ${periodUs}`),
        writeFile(join(folder(name), "cpu.weight"), String(limits.cpuWeight)),
        writeFile(join(folder(name), "pids.max"), String(limits.processes)),
      ]);
      return open(name);
    },
  };
}

function version1(): CgroupSystem {
  const folder = (controller: string, name: string) => join(root, controller, parent, name);
  const open = (name: string): Cgroup =>
    group({
      name,
      folders: v1Controllers.map((controller) => folder(controller, name)),
      procsFiles: v1Controllers.map((controller) => join(folder(controller, name), "cgroup.procs")),
      async outOfMemoryKills() {
        return readField(join(folder("memory", name), "memory.oom_control"), "oom_kill");
      },
      async usage() {
        const memoryBytes = await readNumber(join(folder("memory", name), "memory.usage_in_bytes"));
        const cpuNs = await readNumber(join(folder("cpuacct", name), "cpuacct.usage"));
        return { cpuMs: cpuNs / 1e6, memoryMib: memoryBytes / 1024 ** 2 };
      },
    });
  return {
    version: 1,
    open,
    async create(name, limits) {
      await Promise.all(v1Controllers.map((controller) => mkdir(folder(controller, name), { recursive: true })));
      await writeFile(join(root, "cpu", parent, "cpu.shares"), String(parentProcesses() * 1024));
      const quotaUs = Math.round(limits.cpus * periodUs);
      await Promise.all([
        writeFile(join(folder("memory", name), "memory.limit_in_bytes"), String(limits.memoryMib * 1024 ** 2)),
        writeFile(join(folder("cpu", name), "cpu.cfs_quota_us"), String(quotaUs)).catch(ignoreMissing),
        writeFile(join(folder("cpu", name), "cpu.shares"), String(Math.round(limits.cpuWeight * 10.24))),
        writeFile(join(folder("pids", name), "pids.max"), String(limits.processes)),
      ]);
      return open(name);
    },
  };
}

function parentProcesses(): number {
  return availableParallelism() * processesPerCore;
}

/** Kernels without CFS bandwidth control have no quota; the weight still keeps neighbours apart. */
function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT" && error.code !== "EACCES") throw error;
}

function none(): CgroupSystem {
  const open = (name: string): Cgroup => ({
    name,
    procsFiles: [],
    processes: async () => [],
    outOfMemoryKills: async () => 0,
    usage: async () => ({ cpuMs: 0, memoryMib: 0 }),
    remove: async () => {},
  });
  return { version: "none", open, create: async (name) => open(name) };
}

function group(
  options: Pick<Cgroup, "name" | "procsFiles" | "outOfMemoryKills" | "usage"> & { folders: string[] },
): Cgroup {
  const { folders, ...rest } = options;
  const processes = async () => {
    const lists = await Promise.all(rest.procsFiles.map((path) => readFile(path, "utf8").catch(() => "")));
    return [...new Set(lists.flatMap((list) => list.split("\n").filter(Boolean).map(Number)))];
  };
  return {
    ...rest,
    processes,
    async remove() {
      // A group can be removed once its last process is fully gone, which takes the kernel a moment after the kill.
      const endMs = performance.now() + removeTimeoutMs;
      for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 100)) {
        for (const pid of await processes()) killQuietly(pid);
        const left = (await Promise.all(folders.map(removeFolder))).filter((gone) => !gone);
        if (left.length === 0) return;
        if (performance.now() > endMs) {
          throw new DormouseError(
            "unavailable",
            `control group ${rest.name} is still in use after ${removeTimeoutMs} ms`,
          );
        }
        await sleep(delayMs);
      }
    },
  };
}

const removeTimeoutMs = 10_000;

async function removeFolder(path: string): Promise<boolean> {
  try {
    await rmdir(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return true;
    if (code === "EBUSY") return false;
    throw error;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // It ended by itself in the meantime, which is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function canWrite(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** 0 when the file is gone: the group was removed, and nothing is used any more. */
async function readNumber(path: string): Promise<number> {
  return Number((await readFile(path, "utf8").catch(() => "0")).trim()) || 0;
}

async function readField(path: string, field: string): Promise<number> {
  const text = await readFile(path, "utf8").catch(() => "");
  return Number(new RegExp(`^${field} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}
