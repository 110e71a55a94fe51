import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, type Logger } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import {
  closedEgress,
  egressPolicy,
  environment,
  machineSecret,
  machineState,
  organisationId,
  resources,
  secretHost,
  snapshotRef,
  userName,
} from "@dormouse/contract";
import { z } from "zod";

/** No path: what lies in a machine's folder stays there. */
const fileName = z.string().regex(/^[a-z0-9][a-z0-9.-]*$/);

/**
 * What the host durably knows of one machine, kept beside its drive. It is written
 * before anything is done, so that a daemon that died in the middle finds what to end.
 */
export const machineRecord = z.object({
  version: z.literal(2),
  /** Names the machine's folder, its cgroup and its process. */
  machineId: z.string(),
  /** Null: a machine of the pool that nobody has claimed. */
  workspaceId: z.string().nullable(),
  /** Whose key seals its snapshots; absent: the installation's, as for builders and in records of earlier versions. */
  organisationId: organisationId.optional(),
  generation: z.number().int(),
  state: machineState,
  reason: z.string().nullable(),
  template: z.string(),
  /** The template's content hash: a hibernated machine's memory is a difference to exactly this one. */
  templateHash: z.string(),
  resources,
  /** Whether it was booted from its drives since it last started from a moment: then it has no file as its memory. */
  booted: z.boolean(),
  /** What its memory is mapped from: a file in its folder; null: the template's, or none when it was booted. */
  memory: fileName.nullable(),
  /** The snapshot that `memory` and `diskBase` are still being filled from; null: they are whole. */
  filling: snapshotRef.nullable().default(null),
  /** What of its memory it touched first when it came to life last, see `encodeTouched`; null: that is not known. */
  touched: z.string().nullable().default(null),
  /** What its drive's layers lie on: a file in its folder; null: the template's drive. */
  diskBase: fileName.nullable(),
  /**
   * The moment it starts from: of its sleep, or what was prepared for it. Null as soon as it has run on: then its memory
   * is its process's, and its drive is newer than any snapshot in its folder.
   */
  start: z
    .object({
      /** Device state, a file in its folder, and its SHA-256 in hex: compared before the VMM reads it. */
      devices: fileName,
      devicesSha256: z.string(),
      identity: z.record(z.string(), z.json()),
      /** Frozen layers of its drive, lowest first. */
      layers: z.array(fileName),
    })
    .nullable(),
  /**
   * The snapshot that what it started from, or was kept as last, is equal to: the next one holds the difference. Of
   * another workspace for a fork's first. Null: the template's, or none when it was booted.
   */
  parent: snapshotRef.nullable(),
  /** The newest durable snapshot of the workspace. */
  lastSnapshot: z.object({ id: z.string(), createdMs: z.number() }).nullable(),
  /** What the workspace's snapshots take in the store, as counted last. */
  snapshotBytes: z.number(),
  /** Index of the network slot it runs in; null without a process. */
  slot: z.number().int().nullable(),
  startedMs: z.number().nullable(),
  /** The token the agent takes now. The file is readable by root only. */
  token: z.string(),
  /** What the token was made from; empty as long as it is the template's. */
  tokenSalt: z.string(),
  hostname: z.string(),
  machineUuid: z.string(),
  /** What the machine has as its kernel's boot id: another one after each boot, and in each fork. */
  bootUuid: z.uuid().default(() => randomUUID()),
  folder: z.string(),
  /** Whom processes run as; absent: the image's default user. */
  user: userName.optional(),
  env: environment,
  /** Whether it is kept every so often. */
  isKept: z.boolean().default(true),
  /**
   * Secrets whose placeholders are in `env`. Their values are never written: after a restart of the daemon what needs them is
   * refused until control has told them again.
   */
  secrets: z.array(machineSecret.omit({ value: true })).default([]),
  /** The hosts for which its drive has it trust its organisation's authority; null: it does not. */
  trusts: z.array(secretHost).nullable().default(null),
  /** What may leave it. Where it is not said, as in records of earlier versions, nothing does until control says so. */
  egress: egressPolicy.default(closedEgress),
});
export type MachineRecord = z.infer<typeof machineRecord>;

/** Beside a file that is being filled: where to reach what shows it to its machines. */
export function socketOf(path: string): string {
  return `${path}.fill`;
}

/** Folders of machines under one root, and their records. */
export class MachineStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** The folder of a machine: record, drive, VMM's run-time files, snapshot. */
  folderOf(machineId: string): string {
    return join(this.#root, machineId);
  }

  /** The file that a machine's memory is mapped from, its own or its template's. */
  memoryOf({ machineId, memory }: MachineRecord, template: { memory: string }): string {
    return memory === null ? join(template.memory, "memory") : this.fileOf(machineId, memory);
  }

  /** The file that its drive's layers lie on, its own or its template's. */
  diskBaseOf({ machineId, diskBase }: MachineRecord, template: { disk: string }): string {
    return diskBase === null ? template.disk : this.fileOf(machineId, diskBase);
  }

  /** Removes what a machine no longer starts from: files of earlier lives. */
  async tidy(record: MachineRecord): Promise<void> {
    const { machineId, memory, diskBase, start } = record;
    const sockets = [memory, diskBase].map((name) => name && socketOf(name));
    const used = new Set(["machine.json", "layers", memory, diskBase, ...sockets, start?.devices]);
    for (const name of await readdir(this.folderOf(machineId)).catch(() => [])) {
      if (!used.has(name)) await rm(this.fileOf(machineId, name), { recursive: true, force: true });
    }
  }

  /** A file in the machine's folder. */
  fileOf(machineId: string, name: string): string {
    return join(this.folderOf(machineId), name);
  }

  /** Folder of the drive's layers. */
  layersOf(machineId: string): string {
    return join(this.folderOf(machineId), "layers");
  }

  /** Writes the record as a whole; makes the machine's folder when it is not there yet. */
  async save(record: MachineRecord): Promise<void> {
    const folder = this.folderOf(record.machineId);
    // 0711: the machine's own user must reach its drive by name, nobody may list.
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await writeFileAtomic(join(folder, "machine.json"), JSON.stringify(record), { mode: 0o600 });
  }

  /** Removes the machine's folder with everything in it. */
  async remove(machineId: string): Promise<void> {
    await rm(this.folderOf(machineId), { recursive: true, force: true });
  }

  /**
   * Every record there is. A folder that never got its record is what a creation or a deletion left that died in the
   * middle: it is removed. One whose record cannot be read is kept, for a person to look at.
   */
  async load(log: Logger): Promise<MachineRecord[]> {
    await mkdir(this.#root, { recursive: true, mode: 0o711 });
    const records: MachineRecord[] = [];
    for (const machineId of await readdir(this.#root)) {
      try {
        records.push(await this.#read(machineId));
      } catch (caught) {
        const error = DormouseError.from(caught);
        const hasNone = (caught as NodeJS.ErrnoException).code === "ENOENT";
        log.error(hasNone ? "machine folder without a record is removed" : "machine record cannot be read", {
          machineId,
          error,
        });
        if (hasNone) await this.remove(machineId);
      }
    }
    return records;
  }

  async #read(name: string): Promise<MachineRecord> {
    return machineRecord.parse(JSON.parse(await readFile(join(this.folderOf(name), "machine.json"), "utf8")));
  }
}
