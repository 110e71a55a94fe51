import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { MachineIdentity } from "../manifest.ts";
import type { ProcessIdentity } from "../process.ts";
import type { MachineSlot } from "../vmm.ts";
import type { MemoryMapping } from "./command-line.ts";
import type { DriveRecord } from "./drive.ts";

const formatVersion = 1;

/** What a restarted daemon needs to know of a machine: `machine.json` in its folder. */
export interface MachineRecord {
  formatVersion: number;
  id: string;
  /** `starting` until the guest is up: such a machine is not adopted but reclaimed. */
  phase: "starting" | "ready";
  /** Absent in the moment before the VMM is spawned. */
  process?: ProcessIdentity;
  slot: MachineSlot;
  identity: MachineIdentity;
  memory: MemoryMapping;
  /** Of a workspace drive with layers. */
  drive?: DriveRecord;
  bootAttempts: number;
}

/** Where the parts of a machine lie. */
export interface MachinePaths {
  /** Root's; only the run folder in it is the VMM's. */
  folder: string;
  record: string;
  log: string;
  /** The one folder that the VMM may write to. */
  run: string;
  controlSocket: string;
  /** Device state on its way out of or into the VMM. */
  devices: string;
  bootConfiguration: string;
  /** Memory of a machine that was booted: a sparse file nobody writes to. */
  zeroMemory: string;
}

/** The paths of machine `id` below the machines' folder. */
export function machinePaths(machinesDir: string, id: string): MachinePaths {
  const folder = join(machinesDir, id);
  const run = join(folder, "run");
  return {
    folder,
    record: join(folder, "machine.json"),
    log: join(folder, "vmm.log"),
    run,
    controlSocket: join(run, "control.sock"),
    devices: join(run, "devices"),
    bootConfiguration: join(run, "boot.conf"),
    zeroMemory: join(folder, "memory"),
  };
}

/** A record as this version writes it. */
export function newRecord(fields: Omit<MachineRecord, "formatVersion" | "phase">): MachineRecord {
  return { formatVersion, phase: "starting", ...fields };
}

/**
 * Replaces the record. It is not synced to the disk: it describes a process, and a
 * power cut that could lose it ends the process too.
 */
export async function writeRecord(path: string, record: MachineRecord): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  await writeFile(temporary, JSON.stringify(record), { mode: 0o600 });
  await rename(temporary, path);
}

/** @throws DormouseError `not_found` when there is none that this version can read. */
export async function readRecord(path: string): Promise<MachineRecord> {
  try {
    const record = JSON.parse(await readFile(path, "utf8")) as MachineRecord;
    if (record.formatVersion === formatVersion) return record;
    throw new Error(`format version ${record.formatVersion}`);
  } catch (error) {
    throw new DormouseError("not_found", `no machine can be read from ${path}`, { cause: error });
  }
}
