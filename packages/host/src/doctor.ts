import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { DormouseError, formatBytes } from "@dormouse/base";
import { detectCgroups, hostTscKhz, probeAccelerator, qemuVersion } from "@dormouse/compute";
import { buildInitramfs, buildKernel } from "@dormouse/image";
import { networkFeatures } from "@dormouse/network";

/** One thing looked at. */
export interface DoctorFinding {
  area: "isolation" | "machines" | "network" | "disk";
  name: string;
  /** `ok`: as good as it gets; `limited`: works, with the drawback that `meaning` names; `missing`: nothing runs without it. */
  state: "ok" | "limited" | "missing";
  /** What was found. */
  found: string;
  /** What it means for isolation and speed, or what to do. */
  meaning: string;
}

/** Where {@link examine} keeps what it builds, and looks for room. */
export interface ExamineOptions {
  cacheDir: string;
  dataDir: string;
  signal?: AbortSignal;
}

const comfortableDiskBytes = 20 * 1024 ** 3;
const leastDiskBytes = 3 * 1024 ** 3;

/** Says what this machine offers, found out by trying; yields each finding as it is made. Needs root. */
export async function* examine(options: ExamineOptions): AsyncGenerator<DoctorFinding> {
  for (const look of [findAccelerator, findCgroups, findQemu, findClock, findLanes, findDisk])
    yield await look(options);
  for (const { name, required, available, reason } of await networkFeatures()) {
    const state = available ? "ok" : required ? "missing" : "limited";
    const meaning = available ? "" : required ? "no machine gets a network without it" : "the egress filter needs it";
    yield { area: "network", name, state, found: reason, meaning };
  }
}

async function findQemu(): Promise<DoctorFinding> {
  const finding = { area: "machines", name: "QEMU" } as const;
  try {
    const version = await qemuVersion();
    const isCurrent = Number(version.split(".")[0]) >= 9;
    const meaning = isCurrent ? "" : "snapshots of running machines pause them longer than with QEMU 9";
    return { ...finding, state: isCurrent ? "ok" : "limited", found: version, meaning };
  } catch (error) {
    const meaning = "no machine can start; `npm start` installs it on Debian and Ubuntu";
    return { ...finding, state: "missing", found: DormouseError.from(error).message, meaning };
  }
}

async function findAccelerator({ cacheDir, signal }: ExamineOptions): Promise<DoctorFinding> {
  const finding = { area: "isolation", name: "virtualisation" } as const;
  try {
    const kernel = await buildKernel({ cacheDir, signal });
    const initramfs = await buildInitramfs(kernel, { cacheDir, signal });
    const probe = await probeAccelerator({ kernel: kernel.vmlinux, initramfs: initramfs.path, cacheDir, signal });
    const isHardware = probe.isolation === "hardware";
    return {
      ...finding,
      state: isHardware ? "ok" : "limited",
      found: `${probe.accelerator}: ${probe.reason}`,
      meaning: isHardware
        ? "the processor keeps machines apart"
        : "machines are emulated: slower by an order of magnitude, and no hardened boundary between tenants",
    };
  } catch (error) {
    signal?.throwIfAborted();
    const meaning = "what runs guests here could not be found out";
    return { ...finding, state: "missing", found: DormouseError.from(error).message, meaning };
  }
}

async function findClock(): Promise<DoctorFinding> {
  const finding = { area: "machines", name: "time stamp counter" } as const;
  return await hostTscKhz().then(
    (khz) => ({ ...finding, state: "ok" as const, found: `${(khz / 1e6).toFixed(3)} GHz`, meaning: "" }),
    (error: unknown) => ({
      ...finding,
      state: "missing" as const,
      found: DormouseError.from(error).message,
      meaning: "emulated guests would have to measure it, which can hang their boot",
    }),
  );
}

async function findCgroups(): Promise<DoctorFinding> {
  const { version } = await detectCgroups();
  const finding = { area: "isolation", name: "control groups" } as const;
  if (version === "none") {
    const meaning = "a machine's memory and CPU are not limited from outside; run as root on a host with cgroups";
    return { ...finding, state: "limited", found: "none that can be written", meaning };
  }
  return {
    ...finding,
    state: "ok",
    found: `version ${version}`,
    meaning: "memory, CPU and processes of each machine are limited",
  };
}

async function findLanes(): Promise<DoctorFinding> {
  const found = `${availableParallelism()} cores, ${formatBytes(totalmem())} of memory`;
  const isSmall = totalmem() < 6 * 1024 ** 3;
  const meaning = isSmall ? "room for one or two machines only: each takes 1 GiB or more, never overcommitted" : "";
  return { area: "machines", name: "room", state: isSmall ? "limited" : "ok", found, meaning };
}

async function findDisk({ cacheDir, dataDir }: ExamineOptions): Promise<DoctorFinding> {
  const finding = { area: "disk", name: "free space" } as const;
  const free = async (path: string): Promise<number> => {
    for (let folder = path; ; folder = folder.slice(0, folder.lastIndexOf("/")) || "/") {
      const facts = await statfs(folder).catch(() => undefined);
      if (facts) return facts.bavail * facts.bsize;
    }
  };
  const [data, cache] = await Promise.all([free(dataDir), free(cacheDir)]);
  const least = Math.min(data, cache);
  const state = least >= comfortableDiskBytes ? "ok" : least >= leastDiskBytes ? "limited" : "missing";
  const meaning = state === "ok" ? "" : "the base image takes 1 GiB, each workspace what it writes";
  return {
    ...finding,
    state,
    found: `${formatBytes(data)} in ${dataDir}, ${formatBytes(cache)} in ${cacheDir}`,
    meaning,
  };
}
