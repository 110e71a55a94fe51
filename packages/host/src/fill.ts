import { type FileHandle, open } from "node:fs/promises";
import { DormouseError, sleep } from "@dormouse/base";
import { type BlockSet, connectPartialFile, type PartialFile } from "@dormouse/compute";
import { blockBytes, type ImageReader } from "@dormouse/storage";

/** A file that machines read already, and what it is filled from. */
export interface FillSource {
  /** Sparse, of the image's size. */
  file: string;
  /** Of what shows it to machines, see `PartialFiles` of compute. */
  socket: string;
  image: Pick<ImageReader, "bytes" | "storedBlocks" | "readBlocks">;
  /** Blocks that are fetched before all others that nobody waits for. */
  first: readonly number[];
}

/** How a {@link Fill} deals with a store that fails. */
export interface FillOptions {
  /** It is given up when the store has given nothing for this long; default two minutes. */
  giveUpMs?: number;
}

/** Files that become whole while machines run from them. */
export interface Fill {
  /**
   * Resolves when all files are whole.
   * @throws DormouseError `data_loss` when the store has something else than what was stored, `unavailable` when it gave
   *   nothing for too long or a file is no longer shown, `cancelled` after {@link Fill.stop}.
   */
  readonly whole: Promise<void>;
  readonly isWhole: boolean;
  /** Why it was given up. */
  readonly failure: DormouseError | undefined;
  /** How many blocks are in the files, those that are zeros included, and how many there are. */
  progress(): { present: number; total: number };
  /** Goes on only as long as a machine has one of the files open. */
  endWhenUnused(): void;
  /** Lets go: whoever reads what is not there waits for the next fill of the same files. */
  stop(): Promise<void>;
}

const defaultGiveUpMs = 120_000;
const firstRetryMs = 100;
const maxRetryMs = 5_000;
/** What nobody waits for is fetched in so many lanes, up to 4 MiB at once in each. */
const lanes = 4;
const maxBatchBlocks = 64;
/**
 * A batch is made smaller when it takes so much longer than the quickest answer of the store, and larger when it does
 * not: what somebody waits for is behind all that is on its way in the same line.
 */
const shrinkMs = 40;
const growMs = 15;
const zeros = Buffer.alloc(blockBytes);

/**
 * Begins to fill files: what machines wait for at once, then what is asked to be first, in the order of the files, then
 * the rest. Every block is verified before it is in a file.
 * @throws DormouseError `unavailable` when one of the files is not shown any more.
 */
export async function startFill(sources: readonly FillSource[], options: FillOptions = {}): Promise<Fill> {
  const { giveUpMs = defaultGiveUpMs } = options;
  const ending = new AbortController();
  const { signal } = ending;
  let failure: DormouseError | undefined;
  let isWhole = false;
  let endsWhenUnused = false;
  let failingSinceMs: number | undefined;
  const parts: Part[] = [];

  const giveUp = (error: unknown) => {
    if (signal.aborted) return;
    failure = DormouseError.from(error, "unavailable");
    for (const part of parts) part.fail();
    ending.abort(failure);
  };
  const endIfUnused = () => {
    if (endsWhenUnused && parts.every(({ used }) => used === 0)) ending.abort(cancelled());
  };
  /** Tries again what the store refuses, as long as there is hope. */
  const persist = async (work: () => Promise<void>) => {
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        await work();
        failingSinceMs = undefined;
        return;
      } catch (caught) {
        signal.throwIfAborted();
        const error = DormouseError.from(caught, "unavailable");
        if (error.code === "data_loss") throw error;
        failingSinceMs ??= performance.now();
        if (performance.now() - failingSinceMs > giveUpMs) {
          throw new DormouseError("unavailable", `the store gave nothing for ${giveUpMs} ms: ${error.message}`, {
            cause: error,
          });
        }
        await sleep(retryMs, signal);
      }
    }
  };
  try {
    for (const source of sources) {
      parts.push(await Part.open(source, { signal, persist, giveUp, onUse: endIfUnused }));
    }
  } catch (error) {
    ending.abort(error);
    await Promise.all(parts.map((part) => part.close()));
    throw error;
  }

  const pace = createPace();
  const work = async () => {
    try {
      const queues = await Promise.all(parts.map((part) => part.plan()));
      for (const stage of ["first", "rest"] as const) {
        for (const [index, part] of parts.entries()) await part.fill(queues[index]?.[stage] ?? [], pace);
      }
      isWhole = true;
    } catch (error) {
      giveUp(error);
      throw failure ?? error;
    } finally {
      await Promise.all(parts.map((part) => part.close()));
    }
  };
  const whole = work();
  // Whoever is interested asks; nobody need be.
  whole.catch(() => {});
  return {
    whole,
    get isWhole() {
      return isWhole;
    },
    get failure() {
      return failure;
    },
    progress() {
      const sum = (of: (part: Part) => number) => parts.reduce((total, part) => total + of(part), 0);
      return { present: sum(({ count }) => count), total: sum(({ total }) => total) };
    },
    endWhenUnused() {
      endsWhenUnused = true;
      endIfUnused();
    },
    async stop() {
      ending.abort(cancelled());
      await whole.catch(() => {});
    },
  };
}

/** What parts have in common. */
interface Shared {
  signal: AbortSignal;
  persist(work: () => Promise<void>): Promise<void>;
  giveUp(error: unknown): void;
  onUse(): void;
}

/** One of the files. */
class Part {
  readonly total: number;
  count = 0;
  used = 0;
  readonly #source: FillSource;
  readonly #shared: Shared;
  readonly #file: FileHandle;
  readonly #partial: PartialFile;
  readonly #present: BlockSet;
  /** Fetched now: who asks for one need not ask twice. */
  readonly #coming = new Set<number>();
  /** Asked for since the last turn of the event loop. */
  #wanted: number[] = [];
  #urgent: Promise<void> = Promise.resolve();

  private constructor(source: FillSource, shared: Shared, file: FileHandle, partial: PartialFile) {
    this.#source = source;
    this.#shared = shared;
    this.#file = file;
    this.#partial = partial;
    this.#present = partial.present;
    this.total = Math.ceil(source.image.bytes / blockBytes);
    this.count = partial.present.toArray().length;
  }

  static async open(source: FillSource, shared: Shared): Promise<Part> {
    const file = await open(source.file, "r+");
    try {
      let part: Part | undefined;
      const early: number[] = [];
      const state = { used: 0 };
      const partial = await connectPartialFile({
        socket: source.socket,
        bytes: source.image.bytes,
        signal: shared.signal,
        onWant: (block) => (part ? part.#want(block) : early.push(block)),
        onUse(count) {
          state.used = count;
          if (!part) return;
          part.used = count;
          shared.onUse();
        },
        onEnd: () => shared.giveUp(new DormouseError("unavailable", `${source.file} is no longer shown to machines`)),
      });
      part = new Part(source, shared, file, partial);
      part.used = state.used;
      for (const block of early) part.#want(block);
      return part;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Says of what is all zeros that it is there, and answers what is to be fetched, in order. */
  async plan(): Promise<{ first: number[]; rest: number[] }> {
    let stored: number[] = [];
    await this.#shared.persist(async () => {
      stored = await this.#source.image.storedBlocks(this.#shared.signal);
    });
    let next = 0;
    for (const block of [...stored, this.total]) {
      if (block > next) this.#provide(next, block - next);
      next = block + 1;
    }
    const left = new Set(stored.filter((block) => !this.#present.has(block)));
    const first = this.#source.first.filter((block) => left.delete(block));
    return { first, rest: [...left] };
  }

  /** Fetches blocks in the background, at a pace that leaves room for those that somebody waits for. */
  async fill(blocks: readonly number[], pace: Pace): Promise<void> {
    let next = 0;
    const lane = async () => {
      while (next < blocks.length) {
        const batch = blocks.slice(next, next + pace.batchBlocks);
        next += batch.length;
        // Before those who wait there is only what is on its way already.
        await this.#urgent;
        const startedMs = performance.now();
        if ((await this.#fetch(batch)) > 0) pace.took(performance.now() - startedMs);
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    // What somebody waited for and is still on its way.
    await this.#urgent;
  }

  fail(): void {
    this.#partial.fail();
  }

  async close(): Promise<void> {
    this.#partial.close();
    await this.#urgent.catch(() => {});
    await this.#file.close();
  }

  #want(block: number): void {
    if (this.#shared.signal.aborted) return;
    this.#wanted.push(block);
    if (this.#wanted.length > 1) return;
    // What is asked for together is fetched together.
    setImmediate(() => {
      const blocks = this.#wanted;
      this.#wanted = [];
      const fetched = this.#fetch(blocks).catch((error: unknown) => this.#shared.giveUp(error));
      this.#urgent = Promise.all([this.#urgent, fetched]).then(() => {});
    });
  }

  /** Fetches those that are neither there nor on their way, and answers how many they were. */
  async #fetch(blocks: readonly number[]): Promise<number> {
    const mine = blocks.filter((block) => !this.#present.has(block) && !this.#coming.has(block));
    for (const block of mine) this.#coming.add(block);
    try {
      await this.#shared.persist(async () => {
        const left = mine.filter((block) => !this.#present.has(block));
        if (left.length === 0) return;
        await this.#source.image.readBlocks(left, (block, content) => this.#put(block, content), this.#shared.signal);
      });
    } finally {
      for (const block of mine) this.#coming.delete(block);
    }
    return mine.length;
  }

  async #put(block: number, content: Buffer): Promise<void> {
    const start = block * blockBytes;
    const bytes = content.subarray(0, this.#source.image.bytes - start);
    // The file is sparse: what is zeros is in it already.
    if (!content.equals(zeros)) {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#file.write(bytes, done, bytes.length - done, start + done)).bytesWritten;
      }
    }
    this.#provide(block, 1);
  }

  #provide(first: number, count: number): void {
    for (let block = first; block < first + count; block++) {
      if (this.#present.has(block)) continue;
      this.#present.add(block);
      this.count++;
    }
    this.#partial.provide(first, count);
  }
}

/** How much is fetched at once of what nobody waits for. */
interface Pace {
  readonly batchBlocks: number;
  took(ms: number): void;
}

function createPace(): Pace {
  let batchBlocks = 4;
  let quickestMs = Number.POSITIVE_INFINITY;
  return {
    get batchBlocks() {
      return batchBlocks;
    },
    took(ms) {
      quickestMs = Math.min(quickestMs, ms);
      if (ms > quickestMs + shrinkMs) batchBlocks = Math.max(1, batchBlocks >> 1);
      else if (ms < quickestMs + growMs) batchBlocks = Math.min(maxBatchBlocks, batchBlocks * 2);
    },
  };
}

function cancelled(): DormouseError {
  return new DormouseError("cancelled", "the files are not filled any further");
}
