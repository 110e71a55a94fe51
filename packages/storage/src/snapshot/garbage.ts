import { DormouseError } from "@dormouse/base";
import { packKey, packPrefix } from "../format/pack-header.ts";
import { forEachParallel } from "../pack/parallel.ts";
import { filePrefix, readManifest, removedPrefix, snapshotPrefix } from "./catalog.ts";
import type { Settings } from "./settings.ts";

/** How {@link collectGarbage} decides. */
export interface GarbageOptions {
  /** What is younger is left alone; at least twice the store's `maxWriteMs`. Default exactly that. */
  graceMs?: number;
  /** Default the store's clock; the ages of objects are by the object store's. */
  nowMs?: number;
  signal?: AbortSignal;
}

/** What was removed. */
export interface GarbageFacts {
  packs: number;
  bytes: number;
  /** Manifests of removed snapshots that hold nothing any more. */
  removedManifests: number;
}

const readConcurrency = 8;
/** As many as one request of S3 removes. */
const removeBatch = 1000;

/**
 * Removes the packs that no manifest lists and that are older than the grace.
 *
 * Why this is safe beside writers, with T the collector's beginning: a writer publishes
 * within maxWriteMs of its beginning or not at all.
 * - Its own packs: one that is older than the grace at T was written by a writer whose
 *   time was over before T, so its manifest, if there is one, is read below.
 * - Packs it takes over from a parent that is removed meanwhile: a removed snapshot's
 *   manifest is kept under `removed/` and holds its packs until it is older than the
 *   grace at T; a writer that read the parent before it was removed was over before T.
 * Both need the reading to be no slower than the grace leaves room for; that is checked.
 *
 * @throws DormouseError `data_loss` when any manifest cannot be read: then nobody knows
 *   what it lists, and nothing is removed.
 */
export async function collectGarbage(settings: Settings, options: GarbageOptions = {}): Promise<GarbageFacts> {
  const { objects, clock, maxWriteMs } = settings;
  const { signal } = options;
  const graceMs = options.graceMs ?? 2 * maxWriteMs;
  if (!(graceMs >= 2 * maxWriteMs)) {
    throw new DormouseError(
      "invalid_argument",
      `graceMs ${graceMs} must be at least ${2 * maxWriteMs}, twice the time a snapshot may take to be written`,
    );
  }
  const begunMs = clock.nowMs();
  const nowMs = options.nowMs ?? begunMs;
  const isOld = ({ modifiedMs }: { modifiedMs: number }) => nowMs - modifiedMs > graceMs;

  const old: { id: string; bytes: number }[] = [];
  for await (const pack of objects.list(packPrefix, { signal })) {
    if (isOld(pack)) old.push({ id: pack.key.slice(packPrefix.length), bytes: pack.bytes });
  }
  const listed = new Set<string>();
  const expired: string[] = [];
  for (const prefix of [snapshotPrefix, filePrefix]) await addListed(await keysOf(prefix));
  const removed: string[] = [];
  for await (const manifest of objects.list(removedPrefix, { signal })) {
    (isOld(manifest) ? expired : removed).push(manifest.key);
  }
  await addListed(removed);

  if (clock.nowMs() - begunMs > graceMs - maxWriteMs) {
    throw new DormouseError("deadline_exceeded", `reading all manifests took longer than ${graceMs - maxWriteMs} ms`);
  }
  const garbage = old.filter(({ id }) => !listed.has(id));
  await removeAll(garbage.map(({ id }) => packKey(id)));
  await removeAll(expired);
  const bytes = garbage.reduce((sum, pack) => sum + pack.bytes, 0);
  return { packs: garbage.length, bytes, removedManifests: expired.length };

  async function keysOf(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const { key } of objects.list(prefix, { signal })) keys.push(key);
    return keys;
  }

  async function addListed(keys: string[]): Promise<void> {
    await forEachParallel(keys, readConcurrency, async (key) => {
      signal?.throwIfAborted();
      const manifest = await readManifest(objects, key, signal).catch((error) => {
        // Removed since it was listed: then it is, or was, among the removed ones, which are read after it.
        if (DormouseError.from(error).code === "not_found") return undefined;
        throw error;
      });
      for (const { id } of manifest?.manifest.packs ?? []) listed.add(id);
    });
  }

  async function removeAll(keys: string[]): Promise<void> {
    for (let start = 0; start < keys.length; start += removeBatch) {
      await objects.remove(keys.slice(start, start + removeBatch), { signal });
    }
  }
}
