import { DormouseError } from "@dormouse/base";
import { blockBytes } from "../format/block-ref.ts";
import type { SnapshotManifest } from "../format/manifest.ts";
import { createImageReader, type ImageReader } from "../image/image-reader.ts";
import type { OpenManifest } from "./open-manifest.ts";

/** Reads one snapshot, whose manifest was verified. */
export interface SnapshotReader {
  readonly manifest: SnapshotManifest;
  /** The guest's memory, undefined when the snapshot has none. */
  readonly memory: ImageReader | undefined;
  /** `not_found` naming the disks there are. */
  disk(name: string): ImageReader;
  /** The state of the devices. */
  devices(signal?: AbortSignal): Promise<Buffer>;
  /** Reads and verifies every block, without keeping any. `data_loss` naming what is damaged. */
  verify(signal?: AbortSignal): Promise<void>;
}

/** The reader over a manifest. */
export function createSnapshotReader({ manifest, packs }: OpenManifest<SnapshotManifest>): SnapshotReader {
  const of = (what: string) => `${what} of snapshot ${manifest.id}`;
  const memory = manifest.memory ? createImageReader({ name: of("memory"), ...manifest.memory }, packs) : undefined;
  const disks = new Map(
    manifest.disks.map((disk) => [disk.name, createImageReader({ ...disk, name: of(`disk ${disk.name}`) }, packs)]),
  );

  async function devices(signal?: AbortSignal): Promise<Buffer> {
    const { bytes, blocks } = manifest.devices;
    const content = Buffer.alloc(bytes);
    const wanted = blocks.map((ref, index) => {
      const start = index * blockBytes;
      return { ref, start, plainBytes: Math.min(blockBytes, bytes - start) };
    });
    await packs.readMany(wanted, ({ start }, plain) => void plain.copy(content, start), signal);
    return content;
  }

  return {
    manifest,
    memory,
    disk(name) {
      const disk = disks.get(name);
      if (disk) return disk;
      const names = [...disks.keys()].join(", ") || "none";
      throw new DormouseError("not_found", `snapshot ${manifest.id} has no disk ${name}; it has ${names}`);
    },
    devices,
    async verify(signal) {
      await devices(signal);
      for (const image of [memory, ...disks.values()]) await image?.verify(signal);
    },
  };
}
