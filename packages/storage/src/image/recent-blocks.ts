import type { BlockRef } from "../format/block-ref.ts";

/** Blocks that were stored a short while ago, by the hash of their stored bytes: an equal one is not stored again. */
export interface RecentBlocks {
  find(sha256: string): BlockRef | undefined;
  add(ref: BlockRef): void;
}

/** Some 5 MB of memory, for 1 GiB of different content. */
const maxRecentBlocks = 16_384;

/** An empty, bounded {@link RecentBlocks}; the one not used for longest goes first. */
export function createRecentBlocks(limit = maxRecentBlocks): RecentBlocks {
  const refs = new Map<string, BlockRef>();
  return {
    find(sha256) {
      const ref = refs.get(sha256);
      if (ref) {
        // A map keeps the order of insertion: the used one becomes the youngest.
        refs.delete(sha256);
        refs.set(sha256, ref);
      }
      return ref;
    },
    add(ref) {
      refs.set(ref.sha256, ref);
      if (refs.size <= limit) return;
      for (const oldest of refs.keys()) {
        refs.delete(oldest);
        return;
      }
    },
  };
}
