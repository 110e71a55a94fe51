import { hash, randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { DormouseError, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type Capture, linkLayers, type MachineIdentity } from "@dormouse/compute";
import type { SnapshotRef } from "@dormouse/contract";
import { blockBytes } from "@dormouse/storage";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";

/** What a machine starts from: the files that a record names, in its folder. */
export type StartFiles = Pick<MachineRecord, "memory" | "diskBase" | "start" | "tokenSalt" | "templateHash" | "user">;

/** A moment that lies ready on this host's disk, so that a fork need not fetch it from the store. */
interface LocalMoment {
  folder: string;
  /** Whose it is; undefined: everybody's. */
  organisationId: string | undefined;
  files: StartFiles;
  timer: NodeJS.Timeout;
}

/** Of {@link Moments.prepare}; one of the two is called. */
export interface PreparedMoment {
  /** Keeps it for ten minutes. */
  keepReady(snapshot: SnapshotRef): void;
  discard(): Promise<void>;
}

export interface MomentsOptions {
  store: MachineStore;
  timeline: Timeline;
  templates: Pick<Templates, "get" | "ensure">;
}

/** Who forks once often forks again soon; what is named is started from again and again. */
const localMs = { usual: 10 * 60_000, named: 24 * 3_600_000 };
const names = { memory: "memory", disk: "disk", devices: "devices" } as const;

/**
 * Puts into a machine's folder what it starts from: moments of this host by hard links, which cost nothing and share
 * their memory through the page cache, all others out of the store.
 */
export class Moments {
  readonly #options: MomentsOptions;
  readonly #local = new Map<string, LocalMoment>();
  readonly #fetching = new Map<string, Promise<LocalMoment>>();

  constructor(options: MomentsOptions) {
    this.#options = options;
  }

  /** Writes a capture's moment into its own machine's folder: what it sleeps as. */
  async writeSleep(record: MachineRecord, capture: Capture, signal?: AbortSignal): Promise<StartFiles> {
    const folder = this.#options.store.folderOf(record.machineId);
    const memory = await this.#writeMemory(record, capture, folder, signal);
    const start = await writeStart(folder, capture, capture.layers);
    const { diskBase, tokenSalt, templateHash, user } = record;
    return { memory, diskBase, start, tokenSalt, templateHash, user };
  }

  /** Puts a capture's moment on this host's disk, for forks of the snapshot that it becomes. */
  async prepare(record: MachineRecord, capture: Capture, signal?: AbortSignal): Promise<PreparedMoment> {
    const { store } = this.#options;
    // Beside the machines, and without a record: what a daemon leaves that died is removed by the next one.
    const folder = store.folderOf(`moment-${randomBytes(12).toString("hex")}`);
    await using undo = disposer();
    undo.add(() => rm(folder, { recursive: true, force: true }));
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const memory = await this.#writeMemory(record, capture, folder, signal);
    // Several machines' users read it by a name that nobody can list.
    await chmod(join(folder, memory), 0o444);
    const layers = await capture.linkLayers(join(folder, "layers"));
    if (record.diskBase) await link(store.fileOf(record.machineId, record.diskBase), join(folder, names.disk));
    const files = {
      memory,
      diskBase: record.diskBase && names.disk,
      start: await writeStart(folder, capture, layers),
      tokenSalt: record.tokenSalt,
      templateHash: record.templateHash,
      user: record.user,
    };
    undo.release();
    return {
      keepReady: (snapshot) =>
        void this.#keep(keyOf(snapshot), { folder, organisationId: record.organisationId, files }, localMs.usual),
      discard: () => rm(folder, { recursive: true, force: true }),
    };
  }

  /**
   * Fills a machine's folder with a snapshot's moment.
   * @throws DormouseError `not_found` naming the snapshot, `failed_precondition` for another organisation's; what was written
   *   is in the folder still.
   */
  async fill(record: MachineRecord, snapshot: SnapshotRef, signal?: AbortSignal): Promise<StartFiles> {
    const { store } = this.#options;
    await mkdir(store.folderOf(record.machineId), { recursive: true, mode: 0o711 });
    return await this.#fillFromDisk(record, await this.#localOf(record, snapshot, signal));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#local.keys()].map((key) => this.#forget(key)));
  }

  /** The moment on this host's disk; put together from the store first where it is not, once for all who want it. */
  async #localOf({ organisationId }: MachineRecord, snapshot: SnapshotRef, signal?: AbortSignal): Promise<LocalMoment> {
    const key = keyOf(snapshot);
    const known = this.#local.get(key);
    // Another organisation's is asked for in the store, which refuses it.
    if (known && (known.organisationId === undefined || known.organisationId === organisationId)) {
      known.timer.refresh();
      return known;
    }
    const forWhom = `${key} ${organisationId ?? ""}`;
    const fetching =
      this.#fetching.get(forWhom) ??
      this.#fetch(snapshot, { organisationId, signal }).finally(() => this.#fetching.delete(forWhom));
    this.#fetching.set(forWhom, fetching);
    return await fetching;
  }

  #keep(key: string, moment: Omit<LocalMoment, "timer">, forMs: number): LocalMoment {
    const timer = setTimeout(() => void this.#forget(key), forMs).unref();
    const kept = { ...moment, timer };
    this.#local.set(key, kept);
    return kept;
  }

  async #forget(key: string): Promise<void> {
    const moment = this.#local.get(key);
    if (!moment) return;
    this.#local.delete(key);
    clearTimeout(moment.timer);
    await rm(moment.folder, { recursive: true, force: true });
  }

  async #fillFromDisk(record: MachineRecord, { folder, files }: LocalMoment): Promise<StartFiles> {
    const { store } = this.#options;
    const at = (name: string) => store.fileOf(record.machineId, name);
    const suffix = randomBytes(4).toString("hex");
    const take = async (name: string, as: string) => {
      const target = `${as}-${suffix}`;
      await link(join(folder, name), at(target));
      return target;
    };
    const { memory, diskBase, start, tokenSalt, templateHash, user } = files;
    if (!memory || !start) throw new DormouseError("internal", "a moment without memory cannot be started from");
    const layers = start.layers.map((name) => join(folder, "layers", name));
    // What the machine wrote in an earlier life is not a part of this moment.
    await rm(store.layersOf(record.machineId), { recursive: true, force: true });
    await linkLayers(layers, store.layersOf(record.machineId));
    return {
      memory: await take(memory, names.memory),
      diskBase: diskBase && (await take(diskBase, names.disk)),
      start: { ...start, devices: await take(start.devices, names.devices) },
      tokenSalt,
      templateHash,
      user,
    };
  }

  async #fetch(
    snapshot: SnapshotRef,
    { organisationId, signal }: { organisationId: string | undefined; signal?: AbortSignal | undefined },
  ): Promise<LocalMoment> {
    const { store, timeline } = this.#options;
    const folder = store.folderOf(`moment-${randomBytes(12).toString("hex")}`);
    const suffix = randomBytes(4).toString("hex");
    const reader = await timeline.open(snapshot, { organisationId, signal });
    // Its drives are the template's: without them there is nothing to start.
    await this.#options.templates.ensure(timeline.originOf(reader).templateHash, signal);
    if (!reader.memory) throw new DormouseError("data_loss", `snapshot ${snapshot.id} holds no memory`);
    const [memory, diskBase, devices] = [names.memory, names.disk, names.devices].map((name) => `${name}-${suffix}`);
    if (!memory || !diskBase || !devices) throw new DormouseError("internal", "no names for the files of a moment");
    await using undo = disposer();
    undo.add(() => rm(folder, { recursive: true, force: true }));
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await reader.memory.materialise(join(folder, memory), { signal });
    await timeline.diskOf(reader).materialise(join(folder, diskBase), { signal });
    // Read by whatever users the machines get that start from it.
    for (const name of [memory, diskBase]) await chmod(join(folder, name), 0o444);
    const state = await reader.devices(signal);
    await writeFile(join(folder, devices), state, { mode: 0o600, flag: "wx" });
    const start = {
      devices,
      devicesSha256: hash("sha256", state),
      identity: reader.manifest.compatibility,
      layers: [],
    };
    undo.release();
    const files = { memory, diskBase, start, ...timeline.originOf(reader) };
    return this.#keep(
      keyOf(snapshot),
      { folder, organisationId: timeline.isShared(reader) ? undefined : organisationId, files },
      reader.manifest.name === null ? localMs.usual : localMs.named,
    );
  }

  /**
   * The whole memory of a capture as a file: the one that the machine started from, and over it what differs. Holes are
   * kept, and so are blocks shared where the file system can.
   */
  async #writeMemory(record: MachineRecord, capture: Capture, folder: string, signal?: AbortSignal): Promise<string> {
    if (!capture.memory.isComplete) throw new DormouseError("internal", "only a complete capture makes a memory");
    const name = `${names.memory}-${randomBytes(4).toString("hex")}`;
    const path = join(folder, name);
    await using undo = disposer();
    undo.add(() => rm(path, { force: true }));
    if (record.booted) await writeFile(path, "", { mode: 0o600, flag: "wx" });
    else {
      const base = this.#options.store.memoryOf(record, this.#options.templates.get(record.templateHash));
      await run("cp", ["--reflink=auto", "--sparse=always", "--", base, path], { timeoutMs: 120_000, signal });
      await chmod(path, 0o600);
    }
    const file = await open(path, "r+");
    try {
      await file.truncate(capture.memory.bytes);
      const buffer = Buffer.alloc(blockBytes);
      for (const block of capture.memory.blocks) {
        signal?.throwIfAborted();
        const data = buffer.subarray(0, Math.min(blockBytes, capture.memory.bytes - block * blockBytes));
        await capture.memory.read(block, data);
        await file.write(data, 0, data.length, block * blockBytes);
      }
    } finally {
      await file.close();
    }
    undo.release();
    return name;
  }
}

async function writeStart(folder: string, capture: Capture, layers: readonly string[]) {
  const devices = `${names.devices}-${randomBytes(4).toString("hex")}`;
  await writeFile(join(folder, devices), capture.devices, { mode: 0o600, flag: "wx" });
  return {
    devices,
    devicesSha256: hash("sha256", capture.devices),
    identity: toJson(capture.identity),
    layers: layers.map((path) => basename(path)),
  };
}

function toJson(identity: MachineIdentity): NonNullable<MachineRecord["start"]>["identity"] {
  return { ...identity, resources: { ...identity.resources } };
}

function keyOf({ workspaceId, id }: SnapshotRef): string {
  return `${workspaceId}/${id}`;
}
