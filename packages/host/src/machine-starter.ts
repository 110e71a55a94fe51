import { hash } from "node:crypto";
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, disposer, type Logger } from "@dormouse/base";
import {
  type Lane,
  type Lanes,
  listLayers,
  type Machine,
  type MachineDrives,
  type MachineIdentity,
  removeOtherLayers,
  type Vmm,
} from "@dormouse/compute";
import { createWorkspaceDisk } from "@dormouse/image";
import type { Slot, SlotPool } from "@dormouse/network";
import { agentPort, openConnections } from "./guest-address.ts";
import type { LiveMachine, MachineStarter } from "./live-machine.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import { secretsOf } from "./secrets.ts";
import type { TemplateFolder } from "./template-folder.ts";

export interface StarterOptions {
  vmm: Vmm;
  lanes: Lanes;
  slots: SlotPool;
  /** Slots in which a VMM waits already; taken before others. */
  early: { take(): Slot | undefined };
  store: MachineStore;
  /** The template a record was made from, by its content hash; an older one may still be needed by who sleeps. */
  template: (hash: string) => TemplateFolder;
  log: Logger;
}

/** What a machine holds while it has a process. */
interface Holding {
  lane: Lane;
  slot: Slot;
}

/** Brings machines to life out of VMM, lane, slot and drives, and gives all of it back when they end. */
export function createMachineStarter(options: StarterOptions): MachineStarter {
  const { vmm, lanes, slots, early, store, log } = options;

  /** Reserves first, starts then, and gives back whatever was taken when the start fails. */
  const start = async (record: MachineRecord, begin: (slot: Slot) => Promise<Machine>): Promise<LiveMachine> => {
    await using stack = disposer();
    const lane = lanes.reserve(record.resources);
    stack.add(() => lane.release());
    const slot = early.take() ?? (await slots.allocate());
    stack.add(() => slots.release(slot));
    stack.add(() => vmm.endEarly(slot));
    // Before its first instruction. One of the pool has none: nothing leaves it, and the host reaches it all the same.
    if (record.workspaceId !== null) await slots.egress.setPolicy(slot.index, record.egress);
    const machine = await begin(slot);
    stack.release();
    return toLive(record, machine, { lane, slot });
  };

  const toLive = (record: MachineRecord, machine: Machine, { lane, slot }: Holding): LiveMachine => {
    let isGivenBack = false;
    const guest = openConnections(slot.address, () => record.token);
    const giveBack = async () => {
      if (isGivenBack) return;
      isGivenBack = true;
      guest.close();
      lane.release();
      await slots.release(slot);
    };
    let isAskedToEnd = false;
    const end = async () => {
      isAskedToEnd = true;
      try {
        await machine.kill();
      } finally {
        await giveBack();
      }
    };
    const died = machine.exited.then(async (exit) => {
      // Who asked for the end knows of it already; nobody else may hear of a death.
      if (isAskedToEnd) return new Promise<string>(() => {});
      log.warn("machine ended by itself", { machineId: machine.id, exit });
      await giveBack().catch((error: unknown) => log.error("slot not given back", { machineId: machine.id, error }));
      return exit.message;
    });
    return {
      guest,
      pid: machine.pid,
      slotIndex: slot.index,
      isolation: vmm.capabilities.isolation,
      died,
      setEgress: (policy) => slots.egress.setPolicy(slot.index, policy),
      setSecrets: (secrets) => slots.egress.setSecrets(slot.index, secrets),
      authority: slots.egress.certificate,
      pause: async () => {
        await machine.pause();
        lane.pause();
      },
      resume: async () => {
        lane.run();
        await machine.resume();
      },
      // The copies lie on the drive's own file system, in a folder of nobody's.
      capture: (capture) => machine.capture({ ...capture, folder: store.folderOf(record.machineId) }),
      cpuMs: async () => (await machine.usage()).cpuMs,
      touched: () => machine.touched(),
      kill: end,
      console: () => machine.console(),
    };
  };

  /** The machine's drives; with layers, those that its own starts from. */
  const drivesOf = (record: MachineRecord, layers: readonly string[]): MachineDrives => {
    const template = options.template(record.templateHash);
    const { systemDrive, baseImage } = template.artifacts;
    const workspace = {
      base: store.diskBaseOf(record, template),
      folder: store.layersOf(record.machineId),
      layers,
      areUnsaved: record.parent?.workspaceId !== record.workspaceId,
    };
    return { system: systemDrive, image: baseImage, workspace };
  };

  return {
    async restoreTemplate(record) {
      const template = options.template(record.templateHash);
      return await start(record, (slot) =>
        vmm.restore({ id: record.machineId, slot, drives: drivesOf(record, []), template: template.memory }),
      );
    },

    async restoreMoment(record) {
      const { start: moment, machineId } = record;
      if (!moment) throw new DormouseError("failed_precondition", `machine ${machineId} has no moment to start from`);
      const folder = store.layersOf(machineId);
      const layers = moment.layers.map((name) => join(folder, name));
      // What an earlier life wrote after this moment is not a part of it.
      await mkdir(folder, { recursive: true, mode: 0o710 });
      await removeOtherLayers(folder, layers);
      const devices = await readFile(store.fileOf(machineId, moment.devices));
      if (hash("sha256", devices) !== moment.devicesSha256) {
        throw new DormouseError(
          "data_loss",
          `the device state of machine ${machineId} is damaged: its SHA-256 does not fit`,
        );
      }
      const state = {
        // Compared with this host's own, field by field, before the device state is loaded.
        identity: moment.identity as unknown as MachineIdentity,
        memory: store.memoryOf(record, options.template(record.templateHash)),
        devices,
      };
      const drives = drivesOf(record, layers);
      return await start(record, (slot) => vmm.restore({ id: machineId, slot, drives, state, resume: false }));
    },

    async boot(record) {
      const { artifacts } = options.template(record.templateHash);
      const { vcpus, memoryMib, diskGib } = record.resources;
      const isTemplateSized = diskGib === options.template(record.templateHash).resources.diskGib;
      if (record.diskBase === null && !isTemplateSized) {
        record.diskBase = "disk-new";
        const path = store.fileOf(record.machineId, record.diskBase);
        await createWorkspaceDisk(path, diskGib);
        await chmod(path, 0o444);
        await store.save(record);
      }
      const layers = await listLayers(store.layersOf(record.machineId));
      return await start(record, (slot) =>
        vmm.boot(
          {
            id: record.machineId,
            resources: { vcpus, memoryMib },
            slot,
            drives: drivesOf(record, layers),
            kernel: artifacts.kernel,
            initramfs: artifacts.initramfs,
            kernelParameters: [`dormouse.token=${record.token}`],
          },
          {
            isReady: (signal) => isAgentUp(slot.address, signal),
            onFailedAttempt: (failure) => log.warn("boot attempt failed", { machineId: record.machineId, ...failure }),
          },
        ),
      );
    },

    async adopt(record) {
      if (record.slot === null) return undefined;
      try {
        const machine = await vmm.adopt(record.machineId);
        const slot = await slots.adopt(record.slot);
        await slots.egress.setPolicy(slot.index, record.egress);
        // Their values are control's to tell again.
        await slots.egress.setSecrets(slot.index, secretsOf(record, undefined));
        const paused = (await machine.status()) === "paused";
        return toLive(record, machine, { lane: lanes.reserve(record.resources, { paused }), slot });
      } catch (error) {
        log.info("no machine to adopt", { machineId: record.machineId, error });
        await vmm.reclaim(record.machineId);
        return undefined;
      }
    },
  };
}

/** Whether the agent at this address answers. */
export async function isAgentUp(address: string, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`http://${address}:${agentPort}/health`, { signal });
  await response.body?.cancel();
  return response.ok;
}
