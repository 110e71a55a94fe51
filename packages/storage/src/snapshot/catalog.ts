import { DormouseError, isId } from "@dormouse/base";
import {
  decodeManifest,
  type FileManifest,
  type Manifest,
  maxManifestBytes,
  type SnapshotManifest,
  type VerifiedManifest,
} from "../format/manifest.ts";
import { parseSnapshotId } from "../format/snapshot-id.ts";
import type { ObjectStore } from "../object-store.ts";

/** Manifests of snapshots that count. */
export const snapshotPrefix = "snapshots/";
/** Manifests of snapshots that were removed: until the collector clears them, they hold their packs. */
export const removedPrefix = "removed/";
/** Manifests of files. */
export const filePrefix = "files/";

/** The object of a snapshot's manifest. `invalid_argument` naming what is no id. */
export function snapshotKey(workspaceId: string, id: string): string {
  assertWorkspaceId(workspaceId);
  if (!parseSnapshotId(id)) throw new DormouseError("invalid_argument", `${JSON.stringify(id)} is no snapshot id`);
  return `${snapshotPrefix}${workspaceId}/${id}.json`;
}

/** Where a workspace's manifests lie. */
export function workspacePrefix(workspaceId: string): string {
  assertWorkspaceId(workspaceId);
  return `${snapshotPrefix}${workspaceId}/`;
}

/** The object of a file's manifest. */
export function fileKey(sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw new DormouseError("invalid_argument", `${JSON.stringify(sha256)} is no SHA-256 in hex`);
  }
  return `${filePrefix}${sha256}.json`;
}

function assertWorkspaceId(id: string): void {
  // Any id of ours, or a name such as a template's: one segment of a key.
  const prefix = id.slice(0, Math.max(0, id.indexOf("-")));
  if (isId(prefix, id) || /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) return;
  throw new DormouseError("invalid_argument", `${JSON.stringify(id.slice(0, 120))} is no workspace id`);
}

/** Ids of a workspace's snapshots, oldest first. */
export async function snapshotIds(objects: ObjectStore, workspaceId: string, signal?: AbortSignal): Promise<string[]> {
  const prefix = workspacePrefix(workspaceId);
  const ids: string[] = [];
  for await (const { key } of objects.list(prefix, { signal })) {
    const id = key.slice(prefix.length).replace(/\.json$/, "");
    if (parseSnapshotId(id)) ids.push(id);
  }
  return ids;
}

/**
 * Reads and verifies a snapshot's manifest, which must be the one its key says.
 * @throws DormouseError as `decodeManifest`, or `not_found`.
 */
export async function readSnapshotManifest(
  objects: ObjectStore,
  place: { workspaceId: string; id: string },
  signal?: AbortSignal,
): Promise<VerifiedManifest<SnapshotManifest>> {
  const key = snapshotKey(place.workspaceId, place.id);
  const verified = await readManifest(objects, key, signal).catch((error) => {
    if (DormouseError.from(error).code !== "not_found") throw error;
    throw new DormouseError("not_found", `no snapshot ${place.id} of workspace ${place.workspaceId}`, { cause: error });
  });
  const { manifest } = verified;
  if (manifest.kind !== "snapshot" || manifest.id !== place.id || manifest.workspaceId !== place.workspaceId) {
    throw new DormouseError("data_loss", `manifest ${key} is damaged: it is another one's`);
  }
  return { ...verified, manifest };
}

/** Reads and verifies a file's manifest. `not_found` without it. */
export async function readFileManifest(
  objects: ObjectStore,
  sha256: string,
  signal?: AbortSignal,
): Promise<VerifiedManifest<FileManifest>> {
  const key = fileKey(sha256);
  const verified = await readManifest(objects, key, signal);
  const { manifest } = verified;
  if (manifest.kind !== "file" || manifest.sha256 !== sha256) {
    throw new DormouseError("data_loss", `manifest ${key} is damaged: it is another one's`);
  }
  return { ...verified, manifest };
}

/** Any manifest, verified. No more than a manifest can have is ever read. */
export async function readManifest(
  objects: ObjectStore,
  key: string,
  signal?: AbortSignal,
): Promise<VerifiedManifest<Manifest>> {
  return decodeManifest(await objects.get(key, { length: maxManifestBytes + 1, signal }), key);
}
