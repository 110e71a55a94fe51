/** A pack that a snapshot still refers to. */
export interface PackUse {
  id: string;
  bytes: number;
  /** Bytes of it that the snapshot's images refer to. */
  liveBytes: number;
}

/** When packs are emptied. */
export interface CleaningPolicy {
  /** A pack of which less than this part is live is emptied; default 0.25, 0 never. */
  minLiveFraction: number;
  /** At most so many packs with few live bytes are listed by one snapshot; default 32. */
  maxSmallPacks: number;
  /** What counts as few; default 16 MiB, a quarter of a full pack. */
  smallPackBytes: number;
}

/** See {@link CleaningPolicy}. */
export const defaultCleaning: CleaningPolicy = {
  minLiveFraction: 0.25,
  maxSmallPacks: 32,
  smallPackBytes: 16 * 1024 * 1024,
};

/**
 * The packs whose live blocks the new snapshot stores again, so that old packs become
 * garbage and the number of packs does not grow with the length of the chain:
 * those that are mostly dead, and, when there are too many small ones (a snapshot every
 * minute makes one each), the smaller half of those. Merging a half at a time moves each
 * byte a few times on its way to a large pack, not every minute.
 */
export function chooseVictims(packs: readonly PackUse[], policy: CleaningPolicy): Set<string> {
  const isDead = (pack: PackUse) => pack.liveBytes < pack.bytes * policy.minLiveFraction;
  const victims = new Set(packs.filter(isDead).map(({ id }) => id));
  const small = packs
    .filter((pack) => !victims.has(pack.id) && pack.liveBytes < policy.smallPackBytes)
    .sort((a, b) => a.liveBytes - b.liveBytes);
  if (small.length <= policy.maxSmallPacks) return victims;
  for (const { id } of small.slice(0, Math.ceil(small.length / 2))) victims.add(id);
  return victims;
}
