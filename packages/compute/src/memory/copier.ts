import type { BlockSet } from "../block-set.ts";

/** What a copy of a guest's memory shall hold. */
export interface CopyRequest {
  /** All that differs from the mapped file, rather than what was written since the last copy. */
  isComplete: boolean;
  /** Blocks to take whether written or not: an earlier copy held them and nobody kept it. */
  also?: BlockSet;
  /** Whether the guest runs, so that there is something to be gained by copying before it stands still. */
  isRunning: boolean;
}

/**
 * One copy of a guest's memory into a file, in steps, so that the guest stands still for one of them alone. Given
 * up at any time by disposal; what was copied is of no use then.
 */
export interface MemoryCopier extends AsyncDisposable {
  /** Copies beside the running guest until little is left. */
  approach(request: CopyRequest, signal: AbortSignal): Promise<{ rounds: number }>;
  /**
   * The guest stands still from before this call until after it: takes what is left.
   * @returns how many bytes that were.
   */
  finish(signal: AbortSignal): Promise<number>;
  /** Resolves when all of it is in the file. */
  complete(signal: AbortSignal): Promise<CopiedMemory>;
}

/** What a copier left in its file, at the offsets that it has in memory. */
export interface CopiedMemory {
  blocks: BlockSet;
  /** Those of them whose marks are gone: if nobody keeps this copy, the next one must hold them. */
  unmarked: BlockSet;
  /** Whether it is all that differs from the mapped file. */
  isComplete: boolean;
  /** How much was copied, which is more than was kept when pages were written again meanwhile. */
  copiedBytes: number;
}
