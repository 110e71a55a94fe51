import { readdir, readFile, rm } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { isAlive, killProcess, type ProcessIdentity, waitForEnd } from "../process.ts";
import type {
  BootOptions,
  BootSpec,
  CallOptions,
  Machine,
  MachineSlot,
  RestoreSpec,
  TemplateOptions,
  Vmm,
} from "../vmm.ts";
import { bootWatched } from "./boot.ts";
import { removeSpare } from "./drive.ts";
import { inspectQemuHost, type QemuHost, type QemuHostOptions } from "./host.ts";
import { QemuMachine } from "./machine.ts";
import { Qmp } from "./qmp.ts";
import { machinePaths, readRecord } from "./record.ts";
import { restoreMachine } from "./restore.ts";
import { makeTemplate } from "./template.ts";

/**
 * QEMU as a {@link Vmm}: the `microvm` machine, emulated or with KVM.
 * @throws DormouseError `not_found` or `failed_precondition` when this host's QEMU is of no use.
 */
export async function createQemuVmm(options: QemuHostOptions): Promise<Vmm> {
  const host = await inspectQemuHost(options);
  return {
    capabilities: host.capabilities,
    ...(host.partialFiles && { partialFiles: host.partialFiles }),
    boot: (spec: BootSpec, bootOptions: BootOptions) => bootWatched(host, spec, bootOptions),
    bootTemplate: (spec: BootSpec, templateOptions: TemplateOptions) => makeTemplate(host, spec, templateOptions),
    restore: (spec: RestoreSpec, callOptions?: CallOptions) => restoreMachine(host, spec, callOptions),
    adopt: (id: string, callOptions?: CallOptions) => adopt(host, id, callOptions),
    list: async () => (await readdir(host.machinesDir)).sort(),
    reclaim: (id: string) => reclaim(host, id),
    startEarly: async (slot: MachineSlot) => host.early?.start(slot),
    endEarly: async (slot: MachineSlot) => host.early?.end(slot),
    async close() {
      await host.early?.close();
      await host.fileView?.close();
    },
  };
}

/** Takes a machine over only when it is beyond doubt the one in the record: process, start time and control group. */
async function adopt(host: QemuHost, id: string, options: CallOptions = {}): Promise<Machine> {
  const paths = machinePaths(host.machinesDir, id);
  const record = await readRecord(paths.record);
  const { process } = record;
  if (record.phase !== "ready" || !process) {
    throw new DormouseError("not_found", `machine ${id} had not finished starting when its host process ended`);
  }
  if (!isAlive(process) || !(await isInCgroup(process, id, host))) {
    throw new DormouseError("not_found", `machine ${id} no longer runs: process ${process.pid} is not its VMM`);
  }
  const qmp = await Qmp.connect(paths.controlSocket, { ...options, isAlive: () => isAlive(process) });
  const machine = new QemuMachine({ record, process, paths, cgroup: host.cgroups.open(id), qmp, tools: host.tools });
  if ((await machine.status(options)) !== "exited") {
    await machine.adopted(options);
    return machine;
  }
  await machine.quit();
  throw new DormouseError("not_found", `machine ${id} no longer runs: its guest shut down meanwhile`);
}

async function reclaim(host: QemuHost, id: string): Promise<void> {
  const paths = machinePaths(host.machinesDir, id);
  const record = await readRecord(paths.record).catch(() => undefined);
  const process = record?.process;
  // A process number may have been given to somebody else; only the control group makes it this machine's.
  if (process && isAlive(process) && (await isInCgroup(process, id, host))) {
    killProcess(process);
    await waitForEnd(process, 5000);
  }
  await host.cgroups.open(id).remove();
  await removeSpare(record?.drive);
  await rm(paths.folder, { recursive: true, force: true });
}

async function isInCgroup(process: ProcessIdentity, id: string, host: QemuHost): Promise<boolean> {
  // Without control groups the start time has to be enough.
  if (host.cgroups.version === "none") return true;
  const groups = await readFile(`/proc/${process.pid}/cgroup`, "utf8").catch(() => "");
  return groups.split("\n").some((line) => line.endsWith(`/dormouse/${id}`));
}
