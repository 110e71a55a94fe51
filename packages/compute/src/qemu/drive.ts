import { rm } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import {
  createOwnLayer,
  freezeFile,
  isUnshared,
  layerPath,
  maxLayers,
  prepareLayerFolder,
  syncLayer,
  thawFile,
} from "../layer-folder.ts";
import type { LayeredDrive, MachineSlot } from "../vmm.ts";
import { baseNode, layerBlockdev, layerNode } from "./command-line.ts";
import { cancelJobs, runJob } from "./jobs.ts";
import type { Qmp } from "./qmp.ts";

/** More frozen layers than this are pulled together even when that means copying what forks share. */
const manyLayers = 8;
const jobTimeoutMs = 600_000;

/** A layered drive as a machine's record keeps it. */
export interface DriveRecord {
  base: string;
  folder: string;
  bytes: number;
  /** Numbers of the layers in use, lowest first; the last is written to. */
  layers: number[];
  /** Layers up to this number are in a confirmed capture, or are what the machine started from. */
  confirmed: number;
  /** A layer that is made and maybe known to the VMM, but not in use yet. */
  spare?: number;
  nextNumber: number;
  /** The guest may stand still for a capture that its daemon did not live to end: whoever adopts it lets it go on. */
  isToGoOn?: boolean;
}

/** Prepares a drive for its machine: what lies in the folder, and a new layer on top; see {@link removeTop}. */
export async function createDrive(drive: LayeredDrive, slot: MachineSlot): Promise<DriveRecord> {
  const { bytes, layers, nextNumber } = await prepareLayerFolder(drive, slot);
  const top = layerPath(drive.folder, nextNumber);
  await createOwnLayer(top, bytes, slot);
  return {
    base: drive.base,
    folder: drive.folder,
    bytes,
    layers: [...layers, nextNumber],
    confirmed: drive.areUnsaved ? 0 : (layers.at(-1) ?? 0),
    nextNumber: nextNumber + 1,
  };
}

/** Removes the file that a machine that is gone never used. */
export async function removeSpare(drive: DriveRecord | undefined): Promise<void> {
  if (drive?.spare !== undefined) await rm(layerPath(drive.folder, drive.spare), { force: true });
}

/** Removes what a start that failed has written. */
export async function removeTop(drive: DriveRecord | undefined): Promise<void> {
  const top = drive?.layers.at(-1);
  if (drive && top !== undefined) await rm(layerPath(drive.folder, top), { force: true });
}

/** The layers of a running machine's drive: how one is frozen and how frozen ones are merged. */
export class QemuDrive {
  readonly #qmp: Qmp;
  readonly #slot: MachineSlot;
  readonly #save: (drive: DriveRecord) => Promise<void>;
  #record: DriveRecord;
  /** Whether the VMM knows the spare layer. */
  #isSpareAdded = false;
  /** A word to the VMM went unanswered: what it uses has to be asked. */
  #isUncertain = false;
  #merging: { stop: AbortController; ended: Promise<void> } | undefined;

  constructor(parts: {
    record: DriveRecord;
    qmp: Qmp;
    slot: MachineSlot;
    save: (drive: DriveRecord) => Promise<void>;
  }) {
    this.#record = parts.record;
    this.#qmp = parts.qmp;
    this.#slot = parts.slot;
    this.#save = parts.save;
  }

  get bytes(): number {
    return this.#record.bytes;
  }

  /** Which of these layers are still there: others have become part of those below them. */
  remaining(paths: readonly string[]): string[] {
    const layers = this.layers;
    return paths.filter((path) => layers.includes(path));
  }

  /** Paths of all layers, lowest first; the last is written to. */
  get layers(): string[] {
    return this.#record.layers.map((number) => this.#path(number));
  }

  /** The frozen layers, and those of them that are in no confirmed capture. */
  get frozen(): { all: string[]; unconfirmed: string[]; last: number } {
    const numbers = this.#record.layers.slice(0, -1);
    const unconfirmed = numbers.filter((number) => number > this.#record.confirmed);
    const paths = (list: number[]) => list.map((number) => this.#path(number));
    return { all: paths(numbers), unconfirmed: paths(unconfirmed), last: numbers.at(-1) ?? 0 };
  }

  /**
   * Finds out what the VMM uses, after another process had the machine: the record may be one step behind. What it does
   * not use any more is removed.
   */
  async adopt(signal: AbortSignal): Promise<void> {
    await cancelJobs(this.#qmp, signal);
    const devices = await this.#qmp.execute("query-block", undefined, { signal });
    const active = devices.find(({ qdev }) => qdev?.includes("vdc-device"))?.inserted?.["node-name"];
    const { spare, layers } = this.#record;
    const known = spare !== undefined && active === layerNode(spare) ? [...layers, spare] : layers;
    const top = known.at(-1) ?? 0;
    if (active !== layerNode(top)) {
      throw new DormouseError("data_loss", `the VMM writes to ${active}, its record says layer ${top}`);
    }
    const nodes = await this.#qmp.execute("query-named-block-nodes", { flat: true }, { signal });
    const names = new Set(nodes.map((node) => node["node-name"]));
    const inUse: number[] = [];
    for (const number of known) {
      // One that the VMM does not know any more was merged and let go right before its daemon died.
      if (!names.has(layerNode(number))) continue;
      // The VMM lets go of a layer only when nothing lies on it: of one that was merged.
      if (number === top || !(await this.#forget(number))) inUse.push(number);
    }
    const isSpareLeft = spare !== undefined && spare !== top;
    if (isSpareLeft) await this.#forget(spare);
    this.#isSpareAdded = false;
    await this.#update({ layers: inUse, spare: undefined });
    this.#isUncertain = false;
    const unused = [...known, ...(isSpareLeft ? [spare] : [])].filter((number) => !inUse.includes(number));
    for (const number of unused) await rm(this.#path(number), { force: true });
  }

  /**
   * Makes the layer that the guest writes to next; takes a moment, so it is done while the guest runs.
   * @param options.isToGoOn whether the guest, once it stands still, is to go on in any event.
   */
  async prepare(options: { isToGoOn: boolean }, signal: AbortSignal): Promise<void> {
    await this.stopMerging();
    if (this.#isUncertain) await this.adopt(signal);
    if (this.#record.layers.length >= maxLayers) await this.#flatten(signal);
    if (this.#record.spare === undefined) {
      const number = this.#record.nextNumber;
      // An attempt before may have left it; nothing in the folder has a higher number.
      await rm(this.#path(number), { force: true });
      await createOwnLayer(this.#path(number), this.#record.bytes, this.#slot);
      await this.#update({ spare: number, nextNumber: number + 1 });
    }
    await this.#update({ isToGoOn: options.isToGoOn });
    const { spare = 0 } = this.#record;
    if (!this.#isSpareAdded) {
      // Not to be cancelled, as everything that changes what the VMM uses: it is quick, and its outcome has to be known.
      await this.#certain(
        this.#qmp.execute("blockdev-add", layerBlockdev(this.#path(spare), spare, { backing: null })),
      );
      this.#isSpareAdded = true;
    }
    signal.throwIfAborted();
    // The VMM writes its buffers to the disk when the guest stops; what is there already need not be waited for then.
    await syncLayer(this.#path(this.#top));
  }

  /** Puts the prepared layer on top of the one that is written to, which is frozen from now on. The guest stands still. */
  async freeze(): Promise<void> {
    const { spare, layers } = this.#record;
    if (spare === undefined) throw new DormouseError("internal", "no layer was prepared");
    const nodes = { node: layerNode(this.#top), overlay: layerNode(spare) };
    await this.#certain(this.#qmp.execute("blockdev-snapshot", nodes));
    this.#isSpareAdded = false;
    // On disk later: a daemon that dies in between finds out from the VMM.
    this.#record = { ...this.#record, layers: [...layers, spare], spare: undefined };
  }

  /** Writes down what {@link freeze} did, and that the guest is where it shall be. */
  async save(): Promise<void> {
    await this.#update({ isToGoOn: undefined });
  }

  /** Layers up to `number` are in a capture that is durable. */
  async confirm(number: number): Promise<void> {
    if (number > this.#record.confirmed) await this.#update({ confirmed: number });
  }

  /**
   * Merges confirmed layers into those below as long as these are this machine's alone. A capture that begins meanwhile
   * puts an end to it, which is no failure: the next time goes on with it.
   */
  async merge(signal?: AbortSignal): Promise<void> {
    if (this.#merging) return;
    const stop = new AbortController();
    const work = this.#mergeAll(signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
    const ended = work
      .catch(() => {})
      .then(() => {
        this.#merging = undefined;
      });
    this.#merging = { stop, ended };
    await work.catch((error: unknown) => {
      if (!stop.signal.aborted) throw error;
    });
  }

  /** Ends merging and waits until the VMM has put it away. */
  async stopMerging(): Promise<void> {
    this.#merging?.stop.abort(new DormouseError("cancelled", "the layers are needed"));
    await this.#merging?.ended;
  }

  async #certain(answer: Promise<unknown>): Promise<void> {
    this.#isUncertain = true;
    await answer;
    this.#isUncertain = false;
  }

  get #top(): number {
    return this.#record.layers.at(-1) ?? 0;
  }

  #path(number: number): string {
    return layerPath(this.#record.folder, number);
  }

  async #mergeAll(signal: AbortSignal): Promise<void> {
    // From the top: the VMM writes into the layer above what it merges, and only the topmost is not frozen.
    for (;;) {
      signal.throwIfAborted();
      const [below, above] = this.#record.layers.slice(0, -1).slice(-2);
      if (below === undefined || above === undefined || above > this.#record.confirmed) break;
      if (!(await isUnshared(this.#path(below)))) break;
      await this.#commit(below, above, signal);
    }
    const frozen = this.#record.layers.slice(0, -1);
    const own = frozen.at(-1) ?? 0;
    if (frozen.length <= manyLayers || own > this.#record.confirmed) return;
    if (!(await isUnshared(this.#path(own)))) return;
    await thawFile(this.#path(own), this.#slot);
    await this.#stream(own, signal);
    await freezeFile(this.#path(own));
    await this.#drop(frozen.slice(0, -1));
  }

  /** Merges the last frozen layer into the one below it. */
  async #commit(below: number, above: number, signal: AbortSignal): Promise<void> {
    await thawFile(this.#path(below), this.#slot);
    const input = {
      device: layerNode(this.#top),
      "top-node": layerNode(above),
      "base-node": layerNode(below),
      // Goes into a header that nobody reads: what lies below is always told.
      "backing-file": layerNode(below),
    };
    const start = (id: string) => this.#qmp.execute("block-commit", { "job-id": id, ...input });
    await runJob(this.#qmp, start, { timeoutMs: jobTimeoutMs, signal });
    await syncLayer(this.#path(below));
    await freezeFile(this.#path(below));
    await this.#drop([above]);
  }

  /** Copies all that frozen layers hold into the one that is written to; the next capture then holds all of it. */
  async #flatten(signal: AbortSignal): Promise<void> {
    await this.#stream(this.#top, signal);
    await this.#drop(this.#record.layers.slice(0, -1));
  }

  /** Copies what lies between the base and a layer into that layer. */
  async #stream(into: number, signal: AbortSignal): Promise<void> {
    const input = { device: layerNode(into), "base-node": baseNode, "backing-file": baseNode };
    const start = (id: string) => this.#qmp.execute("block-stream", { "job-id": id, ...input });
    await runJob(this.#qmp, start, { timeoutMs: jobTimeoutMs, signal });
    await syncLayer(this.#path(into));
  }

  /**
   * Layers whose content has gone into another: the VMM closes them, and their names go. Not to be cancelled: what the
   * VMM has done is to be written down.
   */
  async #drop(numbers: number[]): Promise<void> {
    for (const number of numbers.toReversed()) await this.#forget(number);
    await this.#update({ layers: this.#record.layers.filter((number) => !numbers.includes(number)) });
    for (const number of numbers) await rm(this.#path(number), { force: true });
  }

  /** Answers false when the VMM does not let go of the layer, or never knew it. */
  async #forget(number: number): Promise<boolean> {
    return this.#qmp.execute("blockdev-del", { "node-name": layerNode(number) }).then(
      () => true,
      (error: unknown) => {
        if (DormouseError.from(error).code === "internal") return false;
        throw error;
      },
    );
  }

  async #update(change: Partial<DriveRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await this.#save(this.#record);
  }
}
