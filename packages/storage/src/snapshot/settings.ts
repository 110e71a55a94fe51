import { type Clock, DormouseError, systemClock } from "@dormouse/base";
import packageFacts from "../../package.json" with { type: "json" };
import type { FindKey } from "../format/encryption.ts";
import type { ObjectStore } from "../object-store.ts";
import { createRateLimit, type RateLimit } from "../pack/rate-limit.ts";
import { type CleaningPolicy, defaultCleaning } from "./choose-victims.ts";

/** What a snapshot store is made of. */
export interface SnapshotStoreOptions {
  objects: ObjectStore;
  /** Finds the keys of sealed snapshots; without it there are none. */
  findKey?: FindKey;
  clock?: Clock;
  /** Written into manifests; default this package's version. */
  createdBy?: string;
  /** Upload limit for all writers of this store together; default none. */
  uploadBytesPerSecond?: number;
  /** Packs of one snapshot being uploaded at once; default 2, each with up to 4 MiB waiting. */
  uploadConcurrency?: number;
  /** Ranged reads of one reader at once, each up to 4 MiB; default 4. */
  readConcurrency?: number;
  /** Packs are closed before they grow beyond this; default and limit 64 MiB. */
  packBytes?: number;
  cleaning?: Partial<CleaningPolicy>;
  /**
   * A snapshot that is not published so long after it was begun is refused; default 1 h.
   * The collector's grace must be at least twice this: that is what makes it safe beside writers.
   */
  maxWriteMs?: number;
}

/** {@link SnapshotStoreOptions} with everything decided. */
export interface Settings {
  objects: ObjectStore;
  findKey: FindKey;
  clock: Clock;
  createdBy: string;
  rateLimit: RateLimit;
  uploadConcurrency: number;
  readConcurrency: number;
  packBytes: number | undefined;
  cleaning: CleaningPolicy;
  maxWriteMs: number;
}

const hourMs = 3_600_000;

/** Fills in the defaults. `invalid_argument` naming a number that must be positive. */
export function decideSettings(options: SnapshotStoreOptions): Settings {
  for (const name of [
    "uploadBytesPerSecond",
    "uploadConcurrency",
    "readConcurrency",
    "packBytes",
    "maxWriteMs",
  ] as const) {
    const value = options[name];
    if (value !== undefined && !(value > 0)) {
      throw new DormouseError("invalid_argument", `${name} ${value} must be greater than 0`);
    }
  }
  const clock = options.clock ?? systemClock;
  return {
    objects: options.objects,
    findKey: options.findKey ?? (() => undefined),
    clock,
    createdBy: options.createdBy ?? `dormouse ${packageFacts.version}`,
    rateLimit: createRateLimit(options.uploadBytesPerSecond, clock),
    uploadConcurrency: options.uploadConcurrency ?? 2,
    readConcurrency: options.readConcurrency ?? 4,
    packBytes: options.packBytes,
    cleaning: { ...defaultCleaning, ...options.cleaning },
    maxWriteMs: options.maxWriteMs ?? hourMs,
  };
}
