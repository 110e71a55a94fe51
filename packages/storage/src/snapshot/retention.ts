import type { SnapshotManifest } from "../format/manifest.ts";

/** Keeps one snapshot of each `everyMs`, for those younger than `forMs`. */
export interface RetentionTier {
  everyMs: number;
  forMs: number;
}

/** Which snapshots are kept, besides those that always are. */
export interface RetentionPolicy {
  tiers: readonly RetentionTier[];
}

const [minuteMs, hourMs, dayMs] = [60_000, 3_600_000, 86_400_000];

/** Every minute for an hour, every hour for a day, every day for a month. */
export const defaultRetention: RetentionPolicy = {
  tiers: [
    { everyMs: minuteMs, forMs: hourMs },
    { everyMs: hourMs, forMs: dayMs },
    { everyMs: dayMs, forMs: 31 * dayMs },
  ],
};

/** What retention looks at. */
export type RetainedSnapshot = Pick<SnapshotManifest, "id" | "createdMs" | "name" | "reason">;

/**
 * The snapshots of one workspace that may be removed. Always kept are: the newest, the
 * newest taken at a hibernation, those with a name and those taken by hand. Of the others
 * each tier keeps the newest of each of its periods, which are counted from the epoch, so
 * that asking again later gives no other choice. What seems to lie in the future is kept.
 * A fork does not need the one that it began as: its own snapshots name all their packs.
 */
export function selectExpired<Snapshot extends RetainedSnapshot>(
  snapshots: readonly Snapshot[],
  policy: RetentionPolicy,
  nowMs: number,
): Snapshot[] {
  // Ids sort as the snapshots were published, also when clocks were set back in between.
  const newestFirst = [...snapshots].sort((a, b) => (a.id < b.id ? 1 : -1));
  const kept = new Set<Snapshot>();
  const keep = (snapshot: Snapshot | undefined) => snapshot && kept.add(snapshot);
  keep(newestFirst[0]);
  keep(newestFirst.find(({ reason }) => reason === "hibernate"));
  for (const snapshot of newestFirst) {
    if (snapshot.name !== null || snapshot.reason === "manual") keep(snapshot);
    if (snapshot.createdMs > nowMs) keep(snapshot);
  }
  for (const { everyMs, forMs } of policy.tiers) {
    const taken = new Set<number>();
    for (const snapshot of newestFirst) {
      const period = Math.floor(snapshot.createdMs / everyMs);
      if (nowMs - snapshot.createdMs > forMs || taken.has(period)) continue;
      taken.add(period);
      keep(snapshot);
    }
  }
  return snapshots.filter((snapshot) => !kept.has(snapshot));
}
