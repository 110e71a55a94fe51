import { constants } from "node:fs";
import { chmod, chown, link, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError, disposer } from "@dormouse/base";
import { createLayer } from "./qcow2/create-layer.ts";
import { checkDriveBytes } from "./qcow2/format.ts";
import { Layer } from "./qcow2/layer.ts";
import type { LayeredDrive, MachineSlot } from "./vmm.ts";

const namePattern = /^layer-(\d{6,9})\.qcow2$/;
/** A drive of more layers than this is refused: each costs the VMM memory, and a read a look. */
export const maxLayers = 32;

/** Number of a layer, from its file's name; undefined for any other file. */
function layerNumber(name: string): number | undefined {
  const digits = namePattern.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Where a folder has the layer of a number. */
export function layerPath(folder: string, number: number): string {
  return join(folder, `layer-${String(number).padStart(6, "0")}.qcow2`);
}

/** A layered drive that was looked at. */
export interface InspectedDrive {
  bytes: number;
  /** Numbers of the layers, lowest first. */
  layers: number[];
  /** The first number that no file in the folder has. */
  nextNumber: number;
}

/**
 * Makes a drive's folder ready for the slot's VMM and looks at each layer before the VMM does.
 * @throws DormouseError `invalid_argument` when layers are not in the folder in ascending order, `not_found` or
 *   `failed_precondition` when the base is not usable, `data_loss` for a layer that cannot be understood.
 */
export async function prepareLayerFolder(drive: LayeredDrive, slot: MachineSlot): Promise<InspectedDrive> {
  const bytes = await inspectBase(drive.base);
  if (drive.layers.length >= maxLayers) {
    throw new DormouseError(
      "invalid_argument",
      `a drive of ${drive.layers.length} layers; it may have ${maxLayers - 1}`,
    );
  }
  // The slot's group may pass through to names that it knows; making and removing files is root's alone.
  await mkdir(drive.folder, { recursive: true, mode: 0o700 });
  await chown(drive.folder, 0, slot.gid);
  await chmod(drive.folder, 0o710);
  const layers: number[] = [];
  for (const path of drive.layers) {
    const number = layerNumber(path.slice(path.lastIndexOf("/") + 1));
    if (number === undefined || path !== layerPath(drive.folder, number) || number <= (layers.at(-1) ?? 0)) {
      throw new DormouseError("invalid_argument", `${path} is no layer of ${drive.folder} that comes next`);
    }
    await using layer = await Layer.open(path);
    layer.assertDriveBytes(bytes);
    await freezeFile(path);
    layers.push(number);
  }
  const taken = (await readdir(drive.folder)).map((name) => layerNumber(name) ?? 0);
  return { bytes, layers, nextNumber: Math.max(0, ...taken) + 1 };
}

async function inspectBase(path: string): Promise<number> {
  const facts = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new DormouseError("not_found", `the drive's base ${path} cannot be used`, { cause: error });
  });
  if ((facts.mode & 0o004) === 0) {
    throw new DormouseError(
      "failed_precondition",
      `the drive's base ${path} is not readable by all: mode 0444 is needed`,
    );
  }
  checkDriveBytes(facts.size);
  return facts.size;
}

/** A new, empty layer that the slot's VMM may write to. */
export async function createOwnLayer(path: string, driveBytes: number, slot: MachineSlot): Promise<void> {
  await createLayer(path, driveBytes);
  await chown(path, slot.uid, slot.gid);
}

/** Whether the layer is this machine's alone, so that something may be merged into it. */
export async function isUnshared(path: string): Promise<boolean> {
  return (await stat(path)).nlink === 1;
}

/** Lets the slot's VMM write to a layer that had been frozen. */
export async function thawFile(path: string, slot: MachineSlot): Promise<void> {
  await ownFile(path, { uid: slot.uid, gid: slot.gid, mode: 0o600 });
}

/** From now on no VMM can open the layer for writing, and every one that finds it can read it. */
export async function freezeFile(path: string): Promise<void> {
  await ownFile(path, { uid: 0, gid: 0, mode: 0o444 });
}

async function ownFile(path: string, { uid, gid, mode }: { uid: number; gid: number; mode: number }): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await file.chown(uid, gid);
    await file.chmod(mode);
  } finally {
    await file.close();
  }
}

/** Waits until a layer's content is on the disk. */
export async function syncLayer(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/**
 * Puts hard links to frozen layers into another machine's folder on the same file system, and freezes them for ever.
 * No machine may be merging them: of one that runs use {@link Capture.linkLayers}.
 * @returns the links' paths, in the same order. On failure none is left.
 */
export async function linkLayers(layers: readonly string[], folder: string): Promise<string[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await using undo = disposer();
  const links: string[] = [];
  for (const path of layers) {
    const target = join(folder, path.slice(dirname(path).length + 1));
    await freezeFile(path);
    await link(path, target);
    undo.add(() => rm(target, { force: true }));
    links.push(target);
  }
  undo.release();
  return links;
}

/** All layers in a folder, lowest first, none without it: the drive as its machine left it, when nothing else was left there. */
export async function listLayers(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const numbers = names.map(layerNumber).filter((number) => number !== undefined);
  return numbers.toSorted((a, b) => a - b).map((number) => layerPath(folder, number));
}

/** Removes what a folder holds beside the layers named, e.g. what an earlier life wrote after its last capture. */
export async function removeOtherLayers(folder: string, keep: readonly string[]): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (layerNumber(name) !== undefined && !keep.includes(path)) await rm(path, { force: true });
  }
}
