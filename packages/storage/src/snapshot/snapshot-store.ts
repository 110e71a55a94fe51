import { DormouseError } from "@dormouse/base";
import { maxManifestBytes, type SnapshotManifest } from "../format/manifest.ts";
import { forEachParallel } from "../pack/parallel.ts";
import {
  readManifest,
  readSnapshotManifest,
  removedPrefix,
  snapshotIds,
  snapshotKey,
  snapshotPrefix,
} from "./catalog.ts";
import { getFile, type PutFileOptions, putFile } from "./file-images.ts";
import { collectGarbage, type GarbageFacts, type GarbageOptions } from "./garbage.ts";
import { openManifest } from "./open-manifest.ts";
import { decideSettings, type SnapshotStoreOptions } from "./settings.ts";
import { createSnapshotReader, type SnapshotReader } from "./snapshot-reader.ts";
import { type BeginOptions, beginSnapshot, type SnapshotWriter } from "./snapshot-writer.ts";

/** A workspace's snapshots: those that can be read, oldest first, and those whose manifest cannot. */
export interface SnapshotList {
  snapshots: SnapshotManifest[];
  damaged: { id: string; error: DormouseError }[];
}

/** How a snapshot is opened. */
export interface OpenOptions {
  signal?: AbortSignal;
  /**
   * The keys this organisation seals with. A snapshot made with another one, or none, is
   * refused: who can write to the store could otherwise put an unsealed one there.
   */
  keyIds?: readonly string[];
}

/** What a workspace's snapshots take in the store. */
export interface StorageUsage {
  snapshots: number;
  packs: number;
  /** Bytes of all packs they need, each counted once; packs shared with other workspaces count for each of them. */
  storedBytes: number;
}

/**
 * Snapshots in an object store, of all workspaces and all hosts. A snapshot is there
 * whole or not at all, and never changes. Everything read is verified by hash before it
 * is interpreted, and what is not as it was is `data_loss` naming what.
 */
export interface SnapshotStore {
  /**
   * Begins a snapshot.
   * @throws DormouseError `aborted` for a generation older than the newest snapshot's,
   *   `not_found` without the parent, `failed_precondition` when its keys are not here.
   */
  begin(options: BeginOptions): Promise<SnapshotWriter>;
  /** Opens a snapshot. `not_found` without it; `failed_precondition` naming a key or version that does not fit. */
  open(workspaceId: string, id: string, options?: OpenOptions): Promise<SnapshotReader>;
  /** All snapshots of a workspace. */
  list(workspaceId: string, signal?: AbortSignal): Promise<SnapshotList>;
  /**
   * Every snapshot of every workspace, in no order.
   * @throws DormouseError `data_loss` for one that cannot be read: then nobody knows what it needs.
   */
  all(signal?: AbortSignal): AsyncGenerator<SnapshotManifest, void>;
  /** The newest snapshot of the newest generation. `data_loss` when it is damaged: an older one is the caller's choice. */
  latest(workspaceId: string, signal?: AbortSignal): Promise<SnapshotManifest | undefined>;
  /** Removes a snapshot; its packs go with the garbage. One that is not there is no error. Children stay whole. */
  remove(workspaceId: string, id: string, signal?: AbortSignal): Promise<void>;
  /** What a workspace's snapshots take. */
  usage(workspaceId: string, signal?: AbortSignal): Promise<StorageUsage>;
  /** Removes packs that nothing needs. One collector at a time is enough; more do no harm. */
  collectGarbage(options?: GarbageOptions): Promise<GarbageFacts>;
  /** Stores a file under the hash of its content. */
  putFile(path: string, options?: PutFileOptions): Promise<{ sha256: string; bytes: number }>;
  /** Fetches a file to a path, replaced as a whole. */
  getFile(
    sha256: string,
    path: string,
    options?: { signal?: AbortSignal; onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void },
  ): Promise<void>;
}

const readConcurrency = 8;

/** A {@link SnapshotStore} over an object store. */
export function createSnapshotStore(options: SnapshotStoreOptions): SnapshotStore {
  const settings = decideSettings(options);
  const { objects } = settings;

  async function list(workspaceId: string, signal?: AbortSignal): Promise<SnapshotList> {
    const found: SnapshotList = { snapshots: [], damaged: [] };
    await forEachParallel(await snapshotIds(objects, workspaceId, signal), readConcurrency, async (id) => {
      try {
        found.snapshots.push((await readSnapshotManifest(objects, { workspaceId, id }, signal)).manifest);
      } catch (caught) {
        const error = DormouseError.from(caught);
        const isUnreadable = error.code === "data_loss" || error.code === "failed_precondition";
        if (isUnreadable) found.damaged.push({ id, error });
        // One that was removed since it was listed is not there.
        else if (error.code !== "not_found") throw error;
      }
    });
    found.snapshots.sort((a, b) => (a.id < b.id ? -1 : 1));
    return found;
  }

  return {
    begin: (begin) => beginSnapshot(settings, begin),
    async open(workspaceId, id, { signal, keyIds } = {}) {
      const verified = await readSnapshotManifest(objects, { workspaceId, id }, signal);
      const name = `snapshot ${id} of ${workspaceId}`;
      const { keyId } = verified.manifest;
      if (keyIds && (keyId === null || !keyIds.includes(keyId))) {
        throw new DormouseError(
          "failed_precondition",
          `${name} is sealed with ${keyId === null ? "no key" : `key ${keyId}`}; it must be with ${keyIds.join(" or ")}`,
        );
      }
      return createSnapshotReader(await openManifest(verified, name, settings));
    },
    list,
    async *all(signal) {
      for await (const { key } of objects.list(snapshotPrefix, { signal })) {
        const verified = await readManifest(objects, key, signal).catch((error: unknown) => {
          // One that was removed since it was listed is not there.
          if (DormouseError.from(error).code !== "not_found") throw error;
          return undefined;
        });
        if (verified?.manifest.kind === "snapshot") yield verified.manifest;
      }
    },
    async latest(workspaceId, signal) {
      const id = (await snapshotIds(objects, workspaceId, signal)).at(-1);
      return id === undefined ? undefined : (await readSnapshotManifest(objects, { workspaceId, id }, signal)).manifest;
    },
    async remove(workspaceId, id, signal) {
      const key = snapshotKey(workspaceId, id);
      let manifest: Buffer;
      try {
        manifest = await objects.get(key, { length: maxManifestBytes, signal });
      } catch (error) {
        if (DormouseError.from(error).code === "not_found") return;
        throw error;
      }
      // First: from here on a writer that uses this snapshot as its parent can rely on its packs for the grace.
      await objects.put(`${removedPrefix}${key.slice(snapshotPrefix.length)}`, manifest, { signal });
      await objects.remove([key], { signal });
    },
    async usage(workspaceId, signal) {
      const { snapshots, damaged } = await list(workspaceId, signal);
      const packs = new Map(snapshots.flatMap((snapshot) => snapshot.packs.map(({ id, bytes }) => [id, bytes])));
      const storedBytes = [...packs.values()].reduce((sum, bytes) => sum + bytes, 0);
      return { snapshots: snapshots.length + damaged.length, packs: packs.size, storedBytes };
    },
    collectGarbage: (garbage) => collectGarbage(settings, garbage),
    putFile: (path, put) => putFile(settings, path, put),
    getFile: (sha256, path, get) => getFile(settings, sha256, path, get),
  };
}
