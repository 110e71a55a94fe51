import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import type { MachineResources } from "./vmm.ts";

/** Raised when the files beside a manifest change their meaning. */
const formatVersion = 1;
const manifestName = "manifest.json";

/** What must be the same where device state is loaded as where it was saved. */
export interface MachineIdentity {
  vmm: "qemu";
  vmmVersion: string;
  accelerator: "kvm" | "tcg";
  machineType: string;
  cpu: string;
  resources: MachineResources;
  /** An emulated CPU shows the guest this counter, so it may not change its pace. */
  tscKhz: number;
}

/** A file and what it must contain. */
interface FileEntry {
  name: string;
  bytes: number;
  /** SHA-256 in hex. */
  sha256: string;
}

/** `manifest.json` of a template: a stopped machine that others start from. */
export interface TemplateManifest {
  kind: "template";
  formatVersion: number;
  identity: MachineIdentity;
  devices: FileEntry;
  /** The guest's whole memory, sparse, mapped copy-on-write by each machine. */
  memory: { name: string; bytes: number };
}

/** Current value for {@link TemplateManifest.formatVersion}. */
export const manifestFormatVersion = formatVersion;

/** Writes a folder's manifest: the moment from which the folder counts. */
export function writeManifest(dir: string, manifest: TemplateManifest): Promise<void> {
  return writeFileAtomic(join(dir, manifestName), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o644 });
}

/**
 * Reads a folder's manifest.
 * @throws DormouseError `not_found` without one, `data_loss` when it cannot be understood,
 *   `failed_precondition` when a newer Dormouse wrote it.
 */
export async function readManifest(dir: string): Promise<TemplateManifest> {
  const path = join(dir, manifestName);
  const text = await readFile(path, "utf8").catch((error) => {
    throw new DormouseError("not_found", `no template in ${dir}: ${manifestName} cannot be read`, { cause: error });
  });
  let manifest: TemplateManifest;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    throw new DormouseError("data_loss", `${path} is not JSON`, { cause: error });
  }
  if (manifest.formatVersion !== formatVersion) {
    throw new DormouseError(
      "failed_precondition",
      `${path} has format version ${manifest.formatVersion}; this Dormouse reads ${formatVersion}`,
    );
  }
  if (manifest.kind !== "template") {
    const { kind } = manifest as { kind: unknown };
    throw new DormouseError("data_loss", `${path} is of kind ${kind}, not template`);
  }
  return manifest;
}

/** The entry of a file that is to hold these bytes. */
export function describeFile(name: string, content: Uint8Array): FileEntry {
  return { name, bytes: content.length, sha256: sha256Of(content) };
}

/**
 * Reads a small file beside a manifest whole and compares it with its entry, before anything in it is believed.
 * @returns exactly the bytes that were compared.
 * @throws DormouseError `data_loss` naming the file when they differ.
 */
export async function readVerified(dir: string, entry: FileEntry): Promise<Buffer> {
  const path = join(dir, entry.name);
  const unreadable = (cause: unknown) => {
    throw new DormouseError("data_loss", `${path} cannot be read`, { cause });
  };
  // Not read when its size says already that it is another one.
  const { size } = await stat(path).catch(unreadable);
  if (size !== entry.bytes) {
    throw new DormouseError("data_loss", `${path} is damaged: ${size} bytes, expected ${entry.bytes}`);
  }
  const content = await readFile(path).catch(unreadable);
  const sha256 = sha256Of(content);
  if (sha256 !== entry.sha256) {
    throw new DormouseError("data_loss", `${path} is damaged: its SHA-256 is ${sha256}, expected ${entry.sha256}`);
  }
  return content;
}

function sha256Of(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A counter this far off would let the guest's clock run wrong by more than 86 s a day. */
const maxTscDeviation = 0.001;

/**
 * Checks that device state saved as `saved` can be loaded here.
 * @throws DormouseError `failed_precondition` naming the first fact that differs.
 */
export function assertLoadable(saved: MachineIdentity, here: Omit<MachineIdentity, "resources">): void {
  const facts = [
    ["VMM", saved.vmm, here.vmm],
    ["VMM version", saved.vmmVersion, here.vmmVersion],
    ["accelerator", saved.accelerator, here.accelerator],
    ["machine type", saved.machineType, here.machineType],
    ["CPU model", saved.cpu, here.cpu],
  ] as const;
  const different = facts.find(([, then, now]) => then !== now);
  if (different) {
    const [name, then, now] = different;
    throw new DormouseError("failed_precondition", `the snapshot's ${name} is ${then}; this host has ${now}`);
  }
  // Hardware scales or offsets the counter itself; emulation shows it as it is.
  if (saved.accelerator === "tcg" && Math.abs(saved.tscKhz - here.tscKhz) > saved.tscKhz * maxTscDeviation) {
    throw new DormouseError(
      "failed_precondition",
      `the snapshot's TSC runs at ${saved.tscKhz} kHz; this host's at ${here.tscKhz} kHz, which would bend the guest's time`,
    );
  }
}
