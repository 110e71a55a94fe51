import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, withTimeout } from "@dormouse/base";
import { assertLoadable, type MachineIdentity, readManifest, readVerified } from "../manifest.ts";
import type { CallOptions, MachineSlot, MachineState, RestoreSpec } from "../vmm.ts";
import type { MemoryMapping } from "./command-line.ts";
import type { QemuHost } from "./host.ts";
import { giveFile, launch, writeForVmm } from "./launch.ts";
import type { QemuMachine } from "./machine.ts";
import { machinePaths } from "./record.ts";

const restoreTimeoutMs = 60_000;

/** What a guest goes on from; nothing in it has been used yet, and all of it fits this host. */
interface Start {
  identity: MachineIdentity;
  memory: MemoryMapping;
  devices: Uint8Array;
}

/** Starts a guest where a template stopped or a capture was taken; its memory is the file's, shared until it is written. */
export async function restoreMachine(
  host: QemuHost,
  spec: RestoreSpec,
  options: CallOptions = {},
): Promise<QemuMachine> {
  const { identity, memory, devices } = await readStart(host, spec);
  const machine = await launch(
    host,
    {
      ...spec,
      memory,
      resources: identity.resources,
      bootAttempts: 0,
      async start(paths) {
        await writeForVmm(paths.devices, devices, spec.slot);
        return { kind: "restore" };
      },
    },
    options.signal,
  );
  return await bringUp(host, machine, spec, options);
}

async function readStart(host: QemuHost, { template, state, slot }: RestoreSpec): Promise<Start> {
  if (template && !state) return await readTemplate(host, template);
  if (state && !template) return await readState(host, state, slot);
  throw new DormouseError(
    "invalid_argument",
    `restore takes either template or state, and got ${state ? "both" : "neither"}`,
  );
}

/** The device state is compared with its hash before anything in it is used. */
async function readTemplate(host: QemuHost, dir: string): Promise<Start> {
  const { identity, memory, devices } = await readManifest(dir);
  assertLoadable(identity, host.identity);
  return {
    identity,
    memory: await mapMemory(join(dir, memory.name), memory.bytes),
    devices: await readVerified(dir, devices),
  };
}

/** The caller has compared what it hands over; a memory file of its own becomes the slot's user's. */
async function readState(host: QemuHost, state: MachineState, slot: MachineSlot): Promise<Start> {
  const { identity, devices } = state;
  assertLoadable(identity, host.identity);
  const memory = await mapMemory(state.memory, identity.resources.memoryMib * 1024 ** 2);
  if (((await stat(memory.file)).mode & 0o004) === 0) await giveFile(memory.file, slot, 0o400);
  return { identity, memory, devices };
}

async function mapMemory(file: string, bytes: number): Promise<MemoryMapping> {
  const { size } = await stat(file).catch((error) => {
    throw new DormouseError("data_loss", `the memory ${file} is missing`, { cause: error });
  });
  if (size !== bytes) throw new DormouseError("data_loss", `the memory ${file} has ${size} bytes, not ${bytes}`);
  return { file, mode: "private" };
}

/** Loads device state into a VMM that waits for it, and lets the guest go on. */
async function bringUp(
  host: QemuHost,
  machine: QemuMachine,
  spec: RestoreSpec,
  options: CallOptions,
): Promise<QemuMachine> {
  try {
    const load = async (signal: AbortSignal) => {
      await machine.loadDevices({ signal });
      await machine.markReady();
      if (spec.resume !== false) await machine.resume({ signal });
    };
    await withTimeout(`restoring machine ${spec.id}`, options.timeoutMs ?? restoreTimeoutMs, load, options.signal);
    return machine;
  } catch (caught) {
    const console = machinePaths(host.machinesDir, spec.id).log;
    const words = (await readFile(console, "utf8").catch(() => "")).trim().slice(-500);
    await machine.abandon();
    const error = DormouseError.from(caught);
    if (!words) throw error;
    throw new DormouseError(error.code, `${error.message} (the VMM says: ${words})`, { cause: error });
  }
}
