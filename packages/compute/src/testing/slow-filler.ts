import { open } from "node:fs/promises";
import { sleep } from "@dormouse/base";
import { blockBytes } from "../block-set.ts";
import { connectPartialFile } from "../partial-file.ts";

/** Fills a file from another as a slow store would: what is asked for, each block after a delay. */
export interface SlowFiller {
  /** How many blocks it has filled. */
  readonly filled: number;
  /** How many it was asked for. */
  readonly wanted: number;
  /** How many machines have the file open. */
  readonly used: number;
  readonly hasEnded: boolean;
  /** Fills all that is left. */
  fillRest(): Promise<void>;
  fail(): void;
  close(): Promise<void>;
}

/** Connects to what shows `file`. */
export async function fillSlowly(options: {
  from: string;
  file: string;
  socket: string;
  bytes: number;
  delayMs: number;
}): Promise<SlowFiller> {
  const { from, file, socket, bytes, delayMs } = options;
  const source = await open(from, "r");
  const target = await open(file, "r+");
  const state = { filled: 0, wanted: 0, used: 0, hasEnded: false };
  const closing = new AbortController();
  const copies = new Set<Promise<void>>();
  const copy = async (block: number) => {
    const content = Buffer.alloc(Math.min(blockBytes, bytes - block * blockBytes));
    await source.read(content, 0, content.length, block * blockBytes);
    await target.write(content, 0, content.length, block * blockBytes);
    partial.provide(block, 1);
    state.filled++;
  };
  const copySoon = (block: number) => {
    state.wanted++;
    const copied = sleep(delayMs, closing.signal)
      .then(() => copy(block))
      .catch(() => {})
      .finally(() => copies.delete(copied));
    copies.add(copied);
  };
  const early: number[] = [];
  let onWant: (block: number) => void = (block) => void early.push(block);
  const partial = await connectPartialFile({
    socket,
    bytes,
    onWant: (block) => onWant(block),
    onUse(count) {
      state.used = count;
    },
    onEnd() {
      state.hasEnded = true;
    },
  });
  onWant = copySoon;
  for (const block of early) onWant(block);
  return {
    get filled() {
      return state.filled;
    },
    get wanted() {
      return state.wanted;
    },
    get used() {
      return state.used;
    },
    get hasEnded() {
      return state.hasEnded;
    },
    async fillRest() {
      for (let block = 0; block * blockBytes < bytes; block++) await copy(block);
    },
    fail: () => partial.fail(),
    async close() {
      partial.close();
      closing.abort();
      await Promise.allSettled(copies);
      await source.close();
      await target.close();
    },
  };
}
