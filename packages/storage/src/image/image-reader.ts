import { open, rm } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import {
  assertBlock,
  type BlockRef,
  blockBytes,
  blockCountOf,
  isSameContent,
  nodeEntries,
  readRef,
} from "../format/block-ref.ts";
import type { PackReader } from "../pack/pack-reader.ts";
import { type IndexTree, openIndexTree, windowNodes, windowsOf } from "./index-tree.ts";

const zeroBlock = Buffer.alloc(blockBytes);

/** How {@link ImageReader.materialise} goes about it. */
export interface MaterialiseOptions {
  signal?: AbortSignal;
  /** Blocks to be written before all others, e.g. those that a machine touches first. */
  first?: readonly number[];
  /** `doneBytes` of the image's `bytes` are in the file, those that are zeros included. */
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
}

/** Reads an image: a memory or a disk as it was at one moment. */
export interface ImageReader {
  /** Names the image in messages. */
  readonly name: string;
  /** Length of the image. */
  readonly bytes: number;
  /** For {@link changedBlocks}. */
  readonly tree: IndexTree;
  /** 64 KiB, zeros beyond the end of the image. `data_loss` when they cannot be had as they were. */
  readBlock(block: number, signal?: AbortSignal): Promise<Buffer>;
  /**
   * Many blocks, in any order: neighbours are fetched together, some at a time. `onBlock`
   * gets 64 KiB, which it may not keep or change.
   */
  readBlocks(
    blocks: readonly number[],
    onBlock: (block: number, content: Buffer) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void>;
  /** The blocks that are not zeros, ascending; only the index is read. */
  storedBlocks(signal?: AbortSignal): Promise<number[]>;
  /**
   * The blocks of this image that another image of any snapshot has different, ascending.
   * Equal parts of the trees are not even read. Blocks that were stored with different
   * keys count as different.
   */
  changedBlocks(other: ImageReader, signal?: AbortSignal): AsyncIterable<number>;
  /**
   * Writes the image to a new sparse file. It is not synced: it can be made again.
   * On failure there is no file.
   */
  materialise(filePath: string, options?: MaterialiseOptions): Promise<void>;
  /** Reads and verifies every block, without keeping any. */
  verify(signal?: AbortSignal): Promise<void>;
}

/** Opens the image below a root. */
export function createImageReader(
  image: { name: string; bytes: number; root: BlockRef | null },
  packs: PackReader,
): ImageReader {
  const tree = openIndexTree(image, packs);
  const { name, bytes } = image;

  /** Refs of the blocks of some nodes, with what is needed to write them. */
  async function wantedOf(nodes: readonly number[], signal?: AbortSignal) {
    const wanted: { block: number; ref: BlockRef; plainBytes: number }[] = [];
    for (const [node, list] of await tree.nodes(nodes, signal)) {
      for (let entry = 0; entry < nodeEntries; entry++) {
        const ref = readRef(list, entry);
        if (ref) wanted.push({ block: node * nodeEntries + entry, ref, plainBytes: blockBytes });
      }
    }
    return wanted;
  }

  /** Those of some blocks that are not zeros. */
  async function readSome(
    blocks: ReadonlySet<number>,
    onBlock: (wanted: { block: number }, plain: Buffer) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void> {
    const nodes = [...new Set(Array.from(blocks, (block) => Math.floor(block / nodeEntries)))];
    for (let start = 0; start < nodes.length; start += windowNodes) {
      const wanted = await wantedOf(nodes.slice(start, start + windowNodes), signal);
      await packs.readMany(
        wanted.filter(({ block }) => blocks.has(block)),
        onBlock,
        signal,
      );
    }
  }

  /** Every block that is not zeros, those of `first` before the others. */
  async function readAll(
    { signal, first = [], onProgress }: MaterialiseOptions,
    onBlock: (wanted: { block: number }, plain: Buffer) => Promise<void> | void,
  ): Promise<void> {
    const early = new Set(first);
    await readSome(early, onBlock, signal);
    for (const window of windowsOf(tree.nodeCount)) {
      const wanted = (await wantedOf(window, signal)).filter(({ block }) => !early.has(block));
      await packs.readMany(wanted, onBlock, signal);
      const doneBlocks = ((window.at(-1) ?? 0) + 1) * nodeEntries;
      onProgress?.({ doneBytes: Math.min(bytes, doneBlocks * blockBytes), totalBytes: bytes });
    }
  }

  return {
    name,
    bytes,
    tree,
    async readBlock(block, signal) {
      assertBlock(name, block, bytes);
      const ref = await tree.ref(block, signal);
      return ref ? packs.read({ ref, plainBytes: blockBytes }, signal) : Buffer.alloc(blockBytes);
    },
    async readBlocks(blocks, onBlock, signal) {
      for (const block of blocks) assertBlock(name, block, bytes);
      const left = new Set(blocks);
      await readSome(
        new Set(blocks),
        ({ block }, plain) => {
          left.delete(block);
          return onBlock(block, plain);
        },
        signal,
      );
      for (const block of left) await onBlock(block, zeroBlock);
    },
    async storedBlocks(signal) {
      const blocks: number[] = [];
      for (const window of windowsOf(tree.nodeCount)) {
        for (const { block } of await wantedOf(window, signal)) blocks.push(block);
      }
      return blocks.sort((a, b) => a - b);
    },
    async *changedBlocks(other, signal) {
      const [mine, theirs] = [await tree.rootList(signal), await other.tree.rootList(signal)];
      for (const window of windowsOf(tree.nodeCount)) {
        const different = window.filter(
          (node) =>
            !isSameContent(readRef(mine, node), node < other.tree.nodeCount ? readRef(theirs, node) : undefined),
        );
        const inOther = different.filter((node) => node < other.tree.nodeCount);
        const [here, there] = [await tree.nodes(different, signal), await other.tree.nodes(inOther, signal)];
        for (const node of different) yield* differences(node, here.get(node), there.get(node), blockCountOf(bytes));
      }
    },
    async materialise(filePath, options = {}) {
      const { signal, first = [] } = options;
      for (const block of first) assertBlock(name, block, bytes);
      const file = await open(filePath, "wx", 0o600).catch((error) => {
        throw DormouseError.from(error);
      });
      try {
        await file.truncate(bytes);
        await readAll(options, async ({ block }, plain) => {
          const start = block * blockBytes;
          await writeAt(file, plain.subarray(0, bytes - start), start);
        });
      } catch (error) {
        await rm(filePath, { force: true });
        throw DormouseError.from(error, signal?.aborted ? "cancelled" : "internal");
      } finally {
        await file.close();
      }
    },
    verify: (signal) => readAll({ signal }, () => {}),
  };
}

function* differences(
  node: number,
  here: Buffer | undefined,
  there: Buffer | undefined,
  blockCount: number,
): Generator<number> {
  const start = node * nodeEntries;
  for (let entry = 0; entry < nodeEntries && start + entry < blockCount; entry++) {
    const [mine, theirs] = [here && readRef(here, entry), there && readRef(there, entry)];
    if (!isSameContent(mine, theirs)) yield start + entry;
  }
}

async function writeAt(
  file: { write(buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> },
  bytes: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}
