import { randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, disposer, withTimeout } from "@dormouse/base";
import { blockBytes } from "../block-set.ts";
import { findGuestMemory } from "../guest-memory.ts";
import { linkLayers } from "../layer-folder.ts";
import type { CopiedMemory, CopyRequest, MemoryCopier } from "../memory/copier.ts";
import { CopyHistory } from "../memory/history.ts";
import { openPausedCopier } from "../memory/paused.ts";
import { openTrackedCopier } from "../memory/tracked.ts";
import type { NativeTools } from "../native.ts";
import type { ProcessIdentity } from "../process.ts";
import { openLayers } from "../qcow2/layers.ts";
import type { BlockReader, Capture, CaptureOptions } from "../vmm.ts";
import type { QemuDrive } from "./drive.ts";
import type { Qmp } from "./qmp.ts";
import type { QmpEvent } from "./qmp-schema.ts";
import type { MachinePaths, MachineRecord } from "./record.ts";
import { takeDevices } from "./take-devices.ts";

/** Each holds a file as large as what changed; more than this are not in use but forgotten. */
const maxOpenCaptures = 4;
/** Merging is in proportion to what was captured since the last time, but for layers that are pulled together. */
const mergeTimeoutMs = 600_000;

/** What captures of a machine are made from. */
export interface CaptureParts {
  record: MachineRecord;
  process: ProcessIdentity;
  paths: MachinePaths;
  qmp: Qmp;
  drive: QemuDrive;
  tools?: NativeTools;
  /** Lets the guest go on; not to be cancelled. */
  goOn: () => Promise<void>;
}

/** Takes captures of one machine, and remembers what none of them that counts has held. */
export class QemuCaptures {
  readonly #parts: CaptureParts;
  readonly #history = new CopyHistory();
  /** Captures that are taken now or not yet disposed of; layers that they read are not merged. */
  readonly #open = new Set<number>();
  #lastNumber = 0;
  #isTracked: boolean;

  constructor(parts: CaptureParts) {
    this.#parts = parts;
    this.#isTracked = parts.tools !== undefined;
  }

  /** Takes a capture; the caller sees to it that nothing else stops or resumes the guest meanwhile. */
  async take(options: CaptureOptions, signal: AbortSignal): Promise<Capture> {
    if (this.#open.size >= maxOpenCaptures) {
      throw new DormouseError(
        "failed_precondition",
        `${this.#open.size} captures of machine ${this.#parts.record.id} are open; at most ${maxOpenCaptures} may be`,
      );
    }
    const number = ++this.#lastNumber;
    this.#open.add(number);
    try {
      return await this.#take(number, options, signal);
    } catch (error) {
      this.#open.delete(number);
      throw error;
    }
  }

  async #take(number: number, options: CaptureOptions, signal: AbortSignal): Promise<Capture> {
    const startedMs = performance.now();
    const { qmp, drive, paths, record } = this.#parts;
    await using held = disposer();
    const staging = await openStaging(options.folder, this.#memoryBytes);
    held.add(() => staging.close());
    const { running } = await qmp.execute("query-status", undefined, { signal });
    const resumes = running && options.resume !== false;
    await drive.prepare({ isToGoOn: resumes }, signal);
    const { isAllNew, ...wanted } = this.#history.begin(options.complete === true);
    const { copier, rounds } = await this.#approach(staging, { ...wanted, isRunning: running }, signal);
    let copied: CopiedMemory;
    let still: { pauseMs: number; copiedStoppedBytes: number };
    try {
      try {
        await options.beforeStop?.(signal);
        still = await this.#standStill(copier, { running, resumes }, signal);
      } catch (error) {
        if (running) await options.afterResume?.();
        throw error;
      }
      if (resumes) await options.afterResume?.();
      copied = await copier.complete(signal);
    } finally {
      await copier[Symbol.asyncDispose]();
      // Which layer the guest writes to is a fact, whatever became of the rest.
      await drive.save();
    }
    this.#history.taken(number, copied, isAllNew);
    const devices = await takeDevices(paths.devices);
    const { all: layers, unconfirmed, last } = drive.frozen;
    const disk = await openLayers(unconfirmed, drive.bytes, signal);
    held.add(() => disk[Symbol.asyncDispose]());
    held.release();
    let isOpen = true;
    const assertOpen = () => {
      if (!isOpen) throw new DormouseError("failed_precondition", "the capture was disposed of");
    };
    return {
      ...still,
      totalMs: performance.now() - startedMs,
      rounds,
      copiedBytes: copied.copiedBytes,
      identity: record.identity,
      devices,
      memory: {
        ...readStaging(staging, this.#memoryBytes, copied.blocks.toArray()),
        isComplete: copied.isComplete || this.#history.holdsComplete,
      },
      disk,
      get layers() {
        return drive.remaining(layers);
      },
      confirm: async (own = {}) => {
        assertOpen();
        this.#history.confirmed(number);
        await drive.confirm(last);
        // Layers that another capture reads must stay as they are.
        if (this.#open.size > 1) return;
        const merge = (part: AbortSignal) => drive.merge(part);
        await withTimeout("merging layers", own.timeoutMs ?? mergeTimeoutMs, merge, own.signal);
      },
      linkLayers: async (folder) => {
        assertOpen();
        return await linkLayers(drive.remaining(layers), folder);
      },
      [Symbol.asyncDispose]: async () => {
        if (!isOpen) return;
        isOpen = false;
        this.#open.delete(number);
        await staging.close();
        await disk[Symbol.asyncDispose]();
      },
    };
  }

  /** Copies what can be copied beside the running guest, by the best means that there is for this process. */
  async #approach(
    staging: FileHandle,
    request: CopyRequest,
    signal: AbortSignal,
  ): Promise<{ copier: MemoryCopier; rounds: number }> {
    if (this.#isTracked) {
      try {
        return await approachWith(await this.#openTracked(staging, signal), request, signal);
      } catch (error) {
        // A process that was started without tracking, or by a daemon that had none.
        if (DormouseError.from(error).code !== "unimplemented") throw error;
        this.#isTracked = false;
      }
    }
    const { process, record } = this.#parts;
    const source = { pid: process.pid, file: record.memory.file, bytes: this.#memoryBytes, staging };
    return await approachWith(await openPausedCopier(source), request, signal);
  }

  async #openTracked(staging: FileHandle, signal: AbortSignal): Promise<MemoryCopier> {
    const { process, record, tools } = this.#parts;
    const address = await findGuestMemory(process.pid, record.memory.file, this.#memoryBytes);
    const { copyPages = "" } = tools ?? {};
    return await openTrackedCopier({ copyPages, process, address, bytes: this.#memoryBytes, staging }, signal);
  }

  /**
   * Stops the guest, takes what is left, and lets it go on.
   * @returns for how long, in milliseconds, and how much of its memory was copied meanwhile.
   */
  async #standStill(
    copier: MemoryCopier,
    { running, resumes }: { running: boolean; resumes: boolean },
    signal: AbortSignal,
  ): Promise<{ pauseMs: number; copiedStoppedBytes: number }> {
    const { qmp, drive, paths, goOn } = this.#parts;
    using standstill = watchStandstill(qmp);
    try {
      // All on their way at once, so that the VMM does not wait for a word from here between them; each is awaited to its
      // end, because the guest may not go on under any of them; cancelling is for what takes longer.
      const stopped = qmp.execute("stop");
      const copied = stopped.then(() => copier.finish(signal));
      const work = [
        copied,
        qmp.execute("xen-save-devices-state", { filename: paths.devices, live: false }),
        drive.freeze(),
      ];
      const failed = (await Promise.allSettled(work)).find((part) => part.status === "rejected");
      if (failed) throw failed.reason;
      if (resumes) await goOn();
      return { pauseMs: standstill.ms, copiedStoppedBytes: await copied };
    } catch (error) {
      // A VMM that has gone away meanwhile is reported by its exit; here the first error counts.
      if (running) await goOn().catch(() => {});
      throw error;
    }
  }

  get #memoryBytes(): number {
    return this.#parts.record.identity.resources.memoryMib * 1024 ** 2;
  }
}

/** Notes when the guest stops and when it goes on, by the VMM's own clock. */
function watchStandstill(qmp: Qmp): Disposable & { readonly ms: number } {
  const atMs: Partial<Record<QmpEvent["event"], number>> = {};
  const note = ({ event, timestamp }: QmpEvent) => {
    atMs[event] = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
  };
  qmp.on("event", note);
  return {
    /** 0 when it stood still before, or does not go on. */
    get ms() {
      const { STOP, RESUME } = atMs;
      return STOP === undefined || RESUME === undefined ? 0 : RESUME - STOP;
    },
    [Symbol.dispose]: () => void qmp.off("event", note),
  };
}

async function approachWith(copier: MemoryCopier, request: CopyRequest, signal: AbortSignal) {
  try {
    const { rounds } = await copier.approach(request, signal);
    return { copier, rounds };
  } catch (error) {
    await copier[Symbol.asyncDispose]();
    throw error;
  }
}

/** A sparse file without a name: whatever ends, nothing of the guest's memory stays behind. */
async function openStaging(folder: string, bytes: number): Promise<FileHandle> {
  const path = join(folder, `.capture-${randomBytes(8).toString("hex")}`);
  const file = await open(path, "wx+", 0o600);
  try {
    await rm(path);
    await file.truncate(bytes);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function readStaging(staging: FileHandle, bytes: number, blocks: Uint32Array): BlockReader {
  return {
    bytes,
    blocks,
    async read(block, target) {
      if (
        !Number.isInteger(block) ||
        block < 0 ||
        target.length > blockBytes ||
        block * blockBytes + target.length > bytes
      ) {
        throw new DormouseError("out_of_range", `block ${block} with ${target.length} bytes of a memory of ${bytes}`);
      }
      for (let done = 0; done < target.length; ) {
        const { bytesRead } = await staging.read(target, done, target.length - done, block * blockBytes + done);
        if (bytesRead === 0) throw new DormouseError("data_loss", `the copy of the memory ends in block ${block}`);
        done += bytesRead;
      }
    },
  };
}
