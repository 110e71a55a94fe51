import { hash, randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { DormouseError, disposer, type Logger } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type Capture, linkLayers, type MachineIdentity, type PartialFiles } from "@dormouse/compute";
import type { SnapshotRef } from "@dormouse/contract";
import { blockBytes, type ImageReader, type SnapshotReader } from "@dormouse/storage";
import { type Fill, type FillSource, startFill } from "./fill.ts";
import { type MachineRecord, type MachineStore, socketOf } from "./machine-record.ts";
import { Showing } from "./showing.ts";
import type { Templates } from "./templates.ts";
import type { Timeline } from "./timeline.ts";

/** What a machine starts from: the files that a record names, in its folder. */
export type StartFiles = Pick<
  MachineRecord,
  "memory" | "diskBase" | "filling" | "start" | "tokenSalt" | "templateHash" | "user"
>;

/** A moment that lies ready on this host's disk, so that a fork need not fetch it from the store. */
interface LocalMoment {
  folder: string;
  /** Whose it is; undefined: everybody's. */
  organisationId: string | undefined;
  files: StartFiles;
  /** Its memory and drive come from the store while machines run from them already. */
  filling?: { fill: Fill; showing: Showing };
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
  /** Absent: what comes from the store is whole before a machine starts from it. */
  partialFiles?: PartialFiles | undefined;
  log: Logger;
}

/** Who forks once often forks again soon; what is named is started from again and again. */
const localMs = { usual: 10 * 60_000, named: 24 * 3_600_000 };
const names = { memory: "memory", disk: "disk", devices: "devices" } as const;

/**
 * Puts into a machine's folder what it starts from: moments of this host by hard links, which cost nothing and share
 * their memory through the page cache, all others out of the store: machines start from those at once, and what they
 * touch is fetched first.
 */
export class Moments {
  readonly #options: MomentsOptions;
  readonly #local = new Map<string, LocalMoment>();
  readonly #fetching = new Map<string, Promise<LocalMoment>>();
  /** What fills the files that a machine started from. */
  readonly #fills = new WeakMap<MachineRecord, Fill>();
  /** All that have begun, with their ends. */
  readonly #running = new Map<Fill, Promise<void>>();

  constructor(options: MomentsOptions) {
    this.#options = options;
  }

  /** Writes a capture's moment into its own machine's folder: what it sleeps as. */
  async writeSleep(record: MachineRecord, capture: Capture, signal?: AbortSignal): Promise<StartFiles> {
    const folder = this.#options.store.folderOf(record.machineId);
    const memory = await this.#writeMemory(record, capture, folder, signal);
    const start = await writeStart(folder, capture, capture.layers);
    const { diskBase, tokenSalt, templateHash, user } = record;
    return { memory, diskBase, filling: null, start, tokenSalt, templateHash, user };
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
      filling: null,
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
    return await this.#fillFromDisk(record, await this.#localOf(record, snapshot, signal), snapshot);
  }

  /** What still fills, or once filled, the files that a machine started from. */
  fillOf(record: MachineRecord): Fill | undefined {
    return this.#fills.get(record);
  }

  /**
   * Resolves when the files that a machine started from are whole.
   * @throws DormouseError as {@link Fill.whole}.
   */
  async whole(record: MachineRecord, signal?: AbortSignal): Promise<void> {
    if (!record.filling) return;
    const fill = this.#fills.get(record);
    if (!fill) throw new DormouseError("internal", `nobody fills the files of machine ${record.machineId}`);
    await raceSignal(fill.whole, signal);
  }

  /**
   * Goes on filling the files of a machine that runs on from an earlier daemon, as long as it runs.
   * @throws DormouseError `unavailable` when they are no longer shown to it.
   */
  async resume(record: MachineRecord): Promise<void> {
    const { store, timeline } = this.#options;
    const { filling, memory, diskBase, machineId, organisationId } = record;
    if (!filling || !memory || !diskBase) return;
    // Opened when it is first needed, and again as long as the store refuses it.
    const reader = () => timeline.open(filling, { organisationId });
    const memoryOf = async () => wantMemory(await reader());
    const images = [
      { name: memory, open: memoryOf },
      { name: diskBase, open: async () => timeline.diskOf(await reader()) },
    ];
    const sources = images.map(async ({ name, open: openImage }) => {
      const file = store.fileOf(machineId, name);
      const { size: bytes } = await stat(file);
      return { file, socket: socketOf(file), image: lazyImage(bytes, openImage), first: [] };
    });
    const fill = await this.#begin(await Promise.all(sources));
    this.#fills.set(record, fill);
    fill.endWhenUnused();
  }

  /** Machines that run from files which are not whole wait for the next daemon. */
  async close(): Promise<void> {
    await Promise.all([...this.#local.keys()].map((key) => this.#forget(key)));
    await Promise.all([...this.#running.keys()].map((fill) => fill.stop()));
    await Promise.all(this.#running.values());
  }

  async #begin(sources: readonly FillSource[], showing?: Showing): Promise<Fill> {
    const fill = await startFill(sources);
    const follow = async () => {
      try {
        await fill.whole;
        // Who opens them from now on opens the files themselves.
        await showing?.end();
      } catch (error) {
        const { code } = DormouseError.from(error);
        if (code !== "cancelled") this.#options.log.error("files did not become whole", { error });
      }
      this.#running.delete(fill);
    };
    this.#running.set(fill, follow());
    return fill;
  }

  /** The moment on this host's disk; put together from the store first where it is not, once for all who want it. */
  async #localOf({ organisationId }: MachineRecord, snapshot: SnapshotRef, signal?: AbortSignal): Promise<LocalMoment> {
    const key = keyOf(snapshot);
    const known = this.#local.get(key);
    // Another organisation's is asked for in the store, which refuses it.
    const isOurs = known && (known.organisationId === undefined || known.organisationId === organisationId);
    if (isOurs && !known.filling?.fill.failure) {
      known.timer.refresh();
      return known;
    }
    if (isOurs) await this.#forget(key);
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
    moment.filling?.fill.endWhenUnused();
    await rm(moment.folder, { recursive: true, force: true });
  }

  async #fillFromDisk(
    record: MachineRecord,
    { folder, files, filling }: LocalMoment,
    snapshot: SnapshotRef,
  ): Promise<StartFiles> {
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
    const isFilling = filling !== undefined && !filling.fill.isWhole;
    const takeShown = async (name: string, as: string) => {
      const target = await take(name, as);
      if (!isFilling) return target;
      await link(socketOf(join(folder, name)), socketOf(at(target)));
      await filling.showing.showAt(join(folder, name), at(target));
      return target;
    };
    if (isFilling) this.#fills.set(record, filling.fill);
    else this.#fills.delete(record);
    return {
      memory: await takeShown(memory, names.memory),
      diskBase: diskBase && (await takeShown(diskBase, names.disk)),
      filling: isFilling ? snapshot : null,
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
    const image = wantMemory(reader);
    const [memory, diskBase, devices] = [names.memory, names.disk, names.devices].map((name) => `${name}-${suffix}`);
    if (!memory || !diskBase || !devices) throw new DormouseError("internal", "no names for the files of a moment");
    await using undo = disposer();
    undo.add(() => rm(folder, { recursive: true, force: true }));
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const images = [
      { file: join(folder, memory), image, first: timeline.touchedOf(reader) },
      { file: join(folder, diskBase), image: timeline.diskOf(reader), first: [] },
    ];
    const filling = await this.#fetchImages(images, signal);
    undo.add(() => filling?.fill.stop());
    const state = await reader.devices(signal);
    await writeFile(join(folder, devices), state, { mode: 0o600, flag: "wx" });
    const start = {
      devices,
      devicesSha256: hash("sha256", state),
      identity: reader.manifest.compatibility,
      layers: [],
    };
    undo.release();
    const files = { memory, diskBase, filling: null, start, ...timeline.originOf(reader) };
    const key = keyOf(snapshot);
    const forMs = reader.manifest.name === null ? localMs.usual : localMs.named;
    const owner = timeline.isShared(reader) ? undefined : organisationId;
    const moment = this.#keep(key, { folder, organisationId: owner, files, ...(filling && { filling }) }, forMs);
    // Nobody else starts from files that cannot become whole.
    filling?.fill.whole.catch(async () => {
      if (this.#local.get(key) === moment) await this.#forget(key);
    });
    return moment;
  }

  /** Puts images of the store into new files, which all may read. Where machines can see them whole before they are, it only begins. */
  async #fetchImages(
    images: readonly { file: string; image: ImageReader; first: readonly number[] }[],
    signal?: AbortSignal,
  ): Promise<LocalMoment["filling"]> {
    const { partialFiles } = this.#options;
    if (!partialFiles) {
      for (const { file, image, first } of images) {
        await image.materialise(file, { signal, first });
        // Read by whatever users the machines get that start from it.
        await chmod(file, 0o444);
      }
      return undefined;
    }
    const showing = new Showing(partialFiles);
    const sources: FillSource[] = [];
    for (const { file, image, first } of images) {
      const empty = await open(file, "wx", 0o444);
      await empty.truncate(image.bytes).finally(() => empty.close());
      await chmod(file, 0o444);
      await showing.begin(file, socketOf(file));
      sources.push({ file, socket: socketOf(file), image, first });
    }
    return { fill: await this.#begin(sources, showing), showing };
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

function wantMemory({ memory, manifest }: SnapshotReader): ImageReader {
  if (memory) return memory;
  throw new DormouseError("data_loss", `snapshot ${manifest.id} holds no memory`);
}

/** An image of so many bytes, opened when it is first read; an opening that failed is tried again by the next read. */
function lazyImage(bytes: number, openImage: () => Promise<ImageReader>): FillSource["image"] {
  let opened: Promise<ImageReader> | undefined;
  const image = () => {
    opened ??= openImage().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
  return {
    bytes,
    storedBlocks: async (signal) => (await image()).storedBlocks(signal),
    readBlocks: async (blocks, onBlock, signal) => (await image()).readBlocks(blocks, onBlock, signal),
  };
}

async function raceSignal(work: Promise<void>, signal?: AbortSignal): Promise<void> {
  if (!signal) return await work;
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
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
