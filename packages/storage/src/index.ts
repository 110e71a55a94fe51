export { type CachedStoreOptions, createCachedStore } from "./cache/cached-store.ts";
export { createFileStore, type FileStoreOptions } from "./file/file-store.ts";
export { type BlockRef, blockBytes, maxImageBytes } from "./format/block-ref.ts";
export type { FindKey, StorageKey } from "./format/encryption.ts";
export {
  type FileManifest,
  type JsonObject,
  type Manifest,
  readableManifestVersions,
  type SnapshotManifest,
  type SnapshotReason,
} from "./format/manifest.ts";
export { maxPackBytes, readablePackVersions } from "./format/pack-header.ts";
export { createSnapshotId, parseSnapshotId } from "./format/snapshot-id.ts";
export type { ImageReader, MaterialiseOptions } from "./image/image-reader.ts";
export type { ImageWriter } from "./image/image-writer.ts";
export type { GetOptions, ObjectBody, ObjectFacts, ObjectStore, PutOptions, StoreOptions } from "./object-store.ts";
export type { CleaningPolicy } from "./snapshot/choose-victims.ts";
export type { PutFileOptions } from "./snapshot/file-images.ts";
export type { GarbageFacts, GarbageOptions } from "./snapshot/garbage.ts";
export {
  defaultRetention,
  type RetainedSnapshot,
  type RetentionPolicy,
  type RetentionTier,
  selectExpired,
} from "./snapshot/retention.ts";
export type { SnapshotStoreOptions } from "./snapshot/settings.ts";
export type { SnapshotReader } from "./snapshot/snapshot-reader.ts";
export {
  createSnapshotStore,
  type SnapshotList,
  type SnapshotStore,
  type StorageUsage,
} from "./snapshot/snapshot-store.ts";
export type { BeginOptions, SnapshotPlace, SnapshotWriter } from "./snapshot/snapshot-writer.ts";
