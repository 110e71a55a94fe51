import type { FileHandle } from "node:fs/promises";
import { BlockSet, blockBytes } from "../block-set.ts";
import { openGuestMemory, pageBytes } from "../guest-memory.ts";
import type { MemoryCopier } from "./copier.ts";

/** Copied at once, which bounds the memory this takes. */
const pieceBytes = 4 * 1024 * 1024;

/** What is to be copied. */
export interface PausedMemory {
  pid: number;
  /** The file that the guest's memory is mapped from. */
  file: string;
  bytes: number;
  /** Receives the pages. */
  staging: FileHandle;
}

/**
 * A copy of everything that differs from the mapped file, made while the guest stands still: what works on any kernel
 * and needs nothing in the VMM. The guest waits about half a second for each GiB that differs.
 */
export async function openPausedCopier(source: PausedMemory): Promise<MemoryCopier> {
  const { pid, file, bytes, staging } = source;
  const memory = await openGuestMemory(pid, file, bytes);
  const blocks = new BlockSet(Math.ceil(bytes / blockBytes));
  let copiedBytes = 0;
  return {
    approach: async () => ({ rounds: 0 }),
    async finish(signal) {
      for (const { firstPage, pageCount } of await memory.privatePages()) {
        const end = Math.floor(((firstPage + pageCount) * pageBytes - 1) / blockBytes);
        for (let block = Math.floor((firstPage * pageBytes) / blockBytes); block <= end; block++) blocks.add(block);
      }
      const buffer = Buffer.alloc(pieceBytes);
      for (const [start, end] of spans(blocks, bytes)) {
        signal.throwIfAborted();
        const piece = buffer.subarray(0, end - start);
        await memory.read(piece, start / pageBytes);
        for (let done = 0; done < piece.length; ) {
          done += (await staging.write(piece, done, piece.length - done, start + done)).bytesWritten;
        }
        copiedBytes += piece.length;
      }
      return copiedBytes;
    },
    complete: async () => ({ blocks, unmarked: new BlockSet(blocks.size), isComplete: true, copiedBytes }),
    [Symbol.asyncDispose]: () => memory[Symbol.asyncDispose](),
  };
}

/** Neighbouring blocks as pieces of memory, first and last byte, none larger than the buffer. */
function* spans(blocks: BlockSet, bytes: number): Generator<[number, number]> {
  let [start, end] = [0, 0];
  for (const block of blocks.toArray()) {
    const at = block * blockBytes;
    if (at !== end || end - start >= pieceBytes) {
      if (end > start) yield [start, end];
      start = at;
    }
    end = Math.min(at + blockBytes, bytes);
  }
  if (end > start) yield [start, end];
}
