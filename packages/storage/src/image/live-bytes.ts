import type { BlockRef } from "../format/block-ref.ts";

/** Counts, by pack, the bytes that an image refers to, so that nobody has to walk its tree to know. */
export interface LiveBytes {
  /** An entry changes from one ref to another. */
  replace(from: BlockRef | undefined, to: BlockRef | undefined): void;
  /** Packs with live bytes. */
  readonly byPack: ReadonlyMap<string, number>;
}

/** Starts from what a manifest says of the image this one is made from. */
export function createLiveBytes(initial: Readonly<Record<string, number>> = {}): LiveBytes {
  const byPack = new Map(Object.entries(initial));
  const add = (pack: string, bytes: number) => {
    const sum = (byPack.get(pack) ?? 0) + bytes;
    if (sum > 0) byPack.set(pack, sum);
    else byPack.delete(pack);
  };
  return {
    byPack,
    replace(from, to) {
      if (from) add(from.pack, -from.length);
      if (to) add(to.pack, to.length);
    },
  };
}
