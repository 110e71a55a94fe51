import { chmod, chown, mkdir, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, withTimeout } from "@dormouse/base";
import { describeFile, manifestFormatVersion, type TemplateManifest, writeManifest } from "../manifest.ts";
import { waitUntilQuiet } from "../quiet.ts";
import type { BootSpec, TemplateOptions } from "../vmm.ts";
import { bootWatched } from "./boot.ts";
import type { MemoryMapping } from "./command-line.ts";
import type { QemuHost } from "./host.ts";
import { machinePaths } from "./record.ts";
import { takeDevices } from "./take-devices.ts";

const warmTimeoutMs = 120_000;

/** Files of a template beside its manifest. */
const templateFiles = { memory: "memory", devices: "devices" } as const;

/**
 * Boots a guest whose memory is a file, warms it, stops it and keeps that file and the
 * device state. The folder counts from the moment its manifest is there.
 * @throws DormouseError of the boot or of `warm`; the folder is removed again.
 */
export async function makeTemplate(
  host: QemuHost,
  spec: BootSpec,
  options: TemplateOptions,
): Promise<TemplateManifest> {
  const { dir } = options;
  const { workspace } = spec.drives;
  if (typeof workspace !== "string") {
    throw new DormouseError("invalid_argument", "a template's workspace drive is a raw file, which others start from");
  }
  // Machines run as users of their own and must reach the memory file, but need not list anything.
  await mkdir(dir, { mode: 0o711 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
    throw new DormouseError("already_exists", `there is already a folder ${dir}`);
  });
  try {
    const file = join(dir, templateFiles.memory);
    const machine = await bootWatched(host, spec, { ...options, memory: () => createSharedMemory(file, spec) });
    let devices: Buffer;
    try {
      const warm = options.warm;
      if (warm) await withTimeout("warming the template", warmTimeoutMs, (own) => warm(machine, own), options.signal);
      await waitUntilQuiet(async () => (await machine.usage()).cpuMs, options.signal);
      await machine.saveDevices({ signal: options.signal });
      devices = await takeDevices(machinePaths(host.machinesDir, spec.id).devices);
      await writeFile(join(dir, templateFiles.devices), devices, { mode: 0o600, flag: "wx" });
    } catch (error) {
      await machine.kill();
      throw error;
    }
    await machine.quit();
    await Promise.all([file, workspace].map(makeReadOnly));
    await Promise.all([file, workspace, join(dir, templateFiles.devices)].map(syncFile));
    const identity = { ...host.identity, resources: spec.resources };
    const manifest: TemplateManifest = {
      kind: "template",
      formatVersion: manifestFormatVersion,
      identity,
      devices: describeFile(templateFiles.devices, devices),
      memory: { name: templateFiles.memory, bytes: spec.resources.memoryMib * 1024 ** 2 },
    };
    await writeManifest(dir, manifest);
    return manifest;
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}

/** Made anew for each attempt: a guest that hung has left its memory behind. */
async function createSharedMemory(file: string, spec: BootSpec): Promise<MemoryMapping> {
  await rm(file, { force: true });
  const handle = await open(file, "wx", 0o600);
  await handle.truncate(spec.resources.memoryMib * 1024 ** 2);
  await handle.close();
  await chown(file, spec.slot.uid, spec.slot.gid);
  return { file, mode: "shared" };
}

async function makeReadOnly(file: string): Promise<void> {
  await chown(file, 0, 0);
  await chmod(file, 0o444);
}

/** Waits until a file's content is on the disk. */
async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
