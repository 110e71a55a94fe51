import { chmod, chown, mkdir, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { DormouseError, disposer } from "@dormouse/base";
import { spawned, spawnJailed } from "../jail.ts";
import { layerPath } from "../layer-folder.ts";
import type { MachineIdentity } from "../manifest.ts";
import { identifyProcess, isAlive, killProcess, type ProcessIdentity, waitForEnd } from "../process.ts";
import type { MachineDrives, MachineResources, MachineSlot } from "../vmm.ts";
import { type DriveStack, type MemoryMapping, type QemuSpec, qemuArguments } from "./command-line.ts";
import { createDrive, type DriveRecord, removeTop } from "./drive.ts";
import type { VmmLife } from "./early.ts";
import type { QemuHost } from "./host.ts";
import { QemuMachine } from "./machine.ts";
import { Qmp } from "./qmp.ts";
import { type MachinePaths, machinePaths, newRecord, writeRecord } from "./record.ts";

const idPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** What fits into a socket address, its final zero byte left out (unix(7)). */
const maxSocketPathLength = 107;
const connectTimeoutMs = 15_000;
const endTimeoutMs = 5_000;
/** Threads of a QEMU: vCPUs, main loop, RCU, and up to 64 for disk requests. */
const maxThreads = 128;
/** Main loop and disk threads need something beside the vCPUs. */
const extraCpus = 0.25;

/** A QEMU process to be started. */
export interface LaunchSpec {
  id: string;
  resources: MachineResources;
  slot: MachineSlot;
  drives: MachineDrives;
  /** Absent: memory of its own, all zeros. */
  memory?: MemoryMapping;
  bootAttempts: number;
  /** Told when the run folder exists; prepares what QEMU reads from it. */
  start(paths: MachinePaths): Promise<QemuSpec["start"]> | QemuSpec["start"];
}

/**
 * Starts a jailed QEMU whose guest does not run yet (restore) or has just begun to
 * (boot), with its record written: from here on it survives the daemon.
 * @throws DormouseError `already_exists` for an id in use, `unavailable` with the VMM's last
 *   words when it ends at once; nothing stays behind.
 */
export async function launch(host: QemuHost, spec: LaunchSpec, signal?: AbortSignal): Promise<QemuMachine> {
  if (!idPattern.test(spec.id)) {
    throw new DormouseError("invalid_argument", `machine id ${JSON.stringify(spec.id)} does not match ${idPattern}`);
  }
  await using undo = disposer();
  const paths = machinePaths(host.machinesDir, spec.id);
  if (paths.controlSocket.length > maxSocketPathLength) {
    throw new DormouseError(
      "invalid_argument",
      `the control socket's path has ${paths.controlSocket.length} characters, at most ${maxSocketPathLength} work: ${paths.controlSocket}`,
    );
  }
  await createFolder(paths, spec);
  undo.add(() => rm(paths.folder, { recursive: true, force: true }));
  const memory = spec.memory ?? (await createZeroMemory(paths.zeroMemory, spec));
  const { drive, workspace } = await prepareWorkspace(spec);
  undo.add(() => removeTop(drive));
  const identity: MachineIdentity = { ...host.identity, resources: spec.resources };
  const { id, slot, bootAttempts } = spec;
  const record = newRecord({ id, slot, identity, memory, drive, bootAttempts });
  // Written before there is a process, so that a daemon that dies in between leaves a trace to clean up by.
  await writeRecord(paths.record, record);
  const cgroup = await host.cgroups.create(id, {
    memoryMib: spec.resources.memoryMib + host.capabilities.overheadMib,
    processes: maxThreads,
    cpus: spec.resources.vcpus + extraCpus,
    cpuWeight: Math.min(10_000, spec.resources.vcpus * 100),
  });
  undo.add(() => cgroup.remove());
  const qemuArgs = qemuArguments({
    id,
    memory,
    accelerator: host.identity.accelerator,
    resources: spec.resources,
    drives: { ...spec.drives, workspace },
    tap: slot.tap,
    controlSocket: paths.controlSocket,
    start: await spec.start(paths),
  });
  const environment = await trackingEnvironment(host, memory, spec);
  signal?.throwIfAborted();
  const life = { cgroup, logFile: paths.log, environment, qemuArgs };
  const process = (await host.early?.become(slot, life)) ?? (await spawnVmm(host, slot, life));
  if (!process) throw await lastWords(paths);
  undo.add(async () => {
    killProcess(process);
    await waitForEnd(process, endTimeoutMs);
  });
  const options = { timeoutMs: connectTimeoutMs, signal, isAlive: () => isAlive(process) };
  // A daemon that dies before the process is written down finds it by its control group.
  const [qmp] = await Promise.all([
    Qmp.connect(paths.controlSocket, options).catch(async (error) => {
      throw isAlive(process) ? error : await lastWords(paths);
    }),
    writeRecord(paths.record, { ...record, process }),
  ]);
  undo.release();
  return new QemuMachine({ record: { ...record, process }, process, paths, cgroup, qmp, tools: host.tools });
}

/** Starts a VMM that knows its machine from the beginning; undefined when it ended at once. */
async function spawnVmm(host: QemuHost, slot: MachineSlot, life: VmmLife): Promise<ProcessIdentity | undefined> {
  const { cgroup, logFile, environment, qemuArgs } = life;
  const preload = host.tools && { LD_PRELOAD: host.tools.trackWrites };
  const child = spawnJailed(
    {
      slot,
      cgroup,
      fileView: host.fileView?.path,
      groups: host.groups,
      environment: environment && { ...preload, ...environment },
      logFile,
    },
    [host.binary, ...qemuArgs],
  );
  return identifyProcess(await spawned(child));
}

/** A raw drive becomes the slot's user's; one of layers gets a new one on top. */
async function prepareWorkspace(spec: LaunchSpec): Promise<{ drive?: DriveRecord; workspace: string | DriveStack }> {
  const { workspace } = spec.drives;
  if (typeof workspace === "string") {
    await giveFile(workspace, spec.slot);
    return { workspace };
  }
  const drive = await createDrive(workspace, spec.slot);
  const layers = drive.layers.map((number) => ({ number, path: layerPath(drive.folder, number) }));
  return { drive, workspace: { base: drive.base, layers } };
}

/** Names the mapping whose writes are to be tracked, see `native/track-writes.c`. */
async function trackingEnvironment(
  host: QemuHost,
  memory: MemoryMapping,
  spec: LaunchSpec,
): Promise<Record<string, string> | undefined> {
  if (!host.tools || memory.mode !== "private") return undefined;
  const { ino } = await stat(memory.file, { bigint: true });
  const bytes = spec.resources.memoryMib * 1024 ** 2;
  return { DORMOUSE_TRACK_WRITES: `${ino} ${bytes}` };
}

async function createFolder(paths: MachinePaths, spec: LaunchSpec): Promise<void> {
  await mkdir(paths.folder, { mode: 0o711 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
    throw new DormouseError("already_exists", `there is already a machine ${spec.id}`);
  });
  await mkdir(paths.run, { mode: 0o700 });
  await chown(paths.run, spec.slot.uid, spec.slot.gid);
}

async function createZeroMemory(path: string, spec: LaunchSpec): Promise<MemoryMapping> {
  const file = await open(path, "wx", 0o600);
  await file.truncate(spec.resources.memoryMib * 1024 ** 2);
  await file.close();
  await giveFile(path, spec.slot);
  return { file: path, mode: "private" };
}

/** Gives a file to the slot's user alone. */
export async function giveFile(path: string, slot: MachineSlot, mode = 0o600): Promise<void> {
  await chown(path, slot.uid, slot.gid).catch((error: NodeJS.ErrnoException) => {
    throw new DormouseError(error.code === "ENOENT" ? "not_found" : "internal", `the file ${path} cannot be used`, {
      cause: error,
    });
  });
  await chmod(path, mode);
}

/** Writes a file that the VMM may read into its run folder. */
export async function writeForVmm(path: string, content: string | Uint8Array, slot: MachineSlot): Promise<void> {
  await writeFile(path, content, { mode: 0o400, flag: "wx" });
  await chown(path, slot.uid, slot.gid);
}

async function lastWords(paths: MachinePaths): Promise<DormouseError> {
  const log = (await readFile(paths.log, "utf8").catch(() => "")).trim().slice(-2000);
  return new DormouseError("unavailable", `the VMM did not start: ${log || "it said nothing"}`);
}
