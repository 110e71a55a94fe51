import { DormouseError } from "@dormouse/base";
import { encodeBlock } from "../format/block-codec.ts";
import { assertImageBytes, type BlockRef, blockBytes } from "../format/block-ref.ts";
import type { Cipher } from "../format/encryption.ts";
import type { Manifest, StoredImage, StoredPack } from "../format/manifest.ts";
import { packKey } from "../format/pack-header.ts";
import { createImageWriter, type ImageContext, type OpenImage } from "../image/image-writer.ts";
import { createLiveBytes } from "../image/live-bytes.ts";
import { createRecentBlocks } from "../image/recent-blocks.ts";
import { createPackReader } from "../pack/pack-reader.ts";
import { createPackWriter } from "../pack/pack-writer.ts";
import { forEachParallel } from "../pack/parallel.ts";
import { chooseVictims } from "./choose-victims.ts";
import type { OpenManifest } from "./open-manifest.ts";
import type { Settings } from "./settings.ts";

/** What a finished {@link WriteSession} gives its manifest. */
export interface WrittenImages {
  images: ReadonlyMap<string, StoredImage>;
  packs: StoredPack[];
  keys: Manifest["keys"];
  /** Bytes of the packs that this session added. */
  storedBytes: number;
}

/** Images being written that will share one manifest. */
export interface WriteSession {
  /** Begins an image, once for each name. */
  image(name: string, bytes: number, parent: StoredImage | undefined): OpenImage;
  /** Stores bytes cut into blocks; those that the parent has at the same place are not stored again. */
  blob(bytes: Uint8Array, parent: readonly BlockRef[]): Promise<BlockRef[]>;
  /** Cleans, ends images and packs, and checks that every pack that is needed is there. */
  finish(): Promise<WrittenImages>;
  /** Gives up; packs of this session are removed. */
  abort(): Promise<void>;
}

/** Packs looked for at once before a manifest is put. */
const statConcurrency = 16;

/** Begins a session whose images start from those of `parent`. */
export function openWriteSession(
  settings: Settings,
  options: { parent: OpenManifest | undefined; cipher: Cipher | undefined; signal: AbortSignal | undefined },
): WriteSession {
  const { parent, cipher, signal } = options;
  const { objects } = settings;
  const packs = createPackWriter({ ...settings, fingerprint: cipher?.fingerprint ?? null, signal });
  const context: ImageContext = {
    packs,
    parentPacks: parent?.packs ?? noPacks(settings),
    cipher,
    signal,
    recent: createRecentBlocks(),
  };
  const images = new Map<string, OpenImage>();
  const blobs = createLiveBytes();
  const inherited = new Map(parent?.manifest.packs.map((pack) => [pack.id, pack]));

  /** What each pack still holds for this snapshot. */
  function liveBytes(): Map<string, number> {
    const sums = new Map(blobs.byPack);
    for (const { live } of images.values()) {
      for (const [pack, bytes] of live) sums.set(pack, (sums.get(pack) ?? 0) + bytes);
    }
    return sums;
  }

  async function clean(): Promise<void> {
    // What a blob holds stays where it is; it is small, and often replaced.
    const uses = [...liveBytes()].flatMap(([id, live]) => {
      const pack = inherited.get(id);
      return pack && !blobs.byPack.has(id) ? [{ id, bytes: pack.bytes, liveBytes: live }] : [];
    });
    const victims = chooseVictims(uses, settings.cleaning);
    for (const image of images.values()) {
      if ([...image.live.keys()].some((pack) => victims.has(pack))) await image.moveOut(victims);
    }
  }

  function listedPacks(own: ReadonlyMap<string, number>): StoredPack[] {
    return [...liveBytes().keys()].sort().map((id) => {
      const bytes = own.get(id);
      const pack = bytes === undefined ? inherited.get(id) : { id, bytes, keyId: cipher?.keyId ?? null };
      if (pack) return pack;
      throw new DormouseError("internal", `pack ${id} is referred to, but neither written nor inherited`);
    });
  }

  return {
    image(name, bytes, parentImage) {
      assertImageBytes(name, bytes);
      if (images.has(name)) throw new DormouseError("already_exists", `${name} is being written already`);
      if (parentImage && parentImage.bytes > bytes) {
        throw new DormouseError(
          "invalid_argument",
          `${name} of ${bytes} bytes: its parent has ${parentImage.bytes}, and an image does not shrink`,
        );
      }
      const image = createImageWriter({ name, bytes, parent: parentImage }, context);
      images.set(name, image);
      return image;
    },
    async blob(bytes, parentBlocks) {
      const refs: BlockRef[] = [];
      for (let start = 0; start < bytes.length; start += blockBytes) {
        const stored = encodeBlock(bytes.subarray(start, start + blockBytes), cipher);
        const same = parentBlocks[refs.length];
        const known = same?.sha256 === stored.sha256 ? same : context.recent.find(stored.sha256);
        const ref = known ?? (await packs.append(stored));
        context.recent.add(ref);
        blobs.replace(undefined, ref);
        refs.push(ref);
      }
      return refs;
    },
    async finish() {
      await clean();
      const finished = new Map<string, StoredImage>();
      for (const [name, image] of images) finished.set(name, await image.finish());
      const own = await packs.finish();
      const listed = listedPacks(own);
      await forEachParallel(listed, statConcurrency, async ({ id, bytes }) => {
        const facts = await objects.stat(packKey(id), { signal });
        if (facts?.bytes === bytes) return;
        const found = facts ? `has ${facts.bytes} bytes instead of ${bytes}` : "is gone";
        throw new DormouseError("aborted", `pack ${id}, which the new snapshot needs, ${found} in ${objects.name}`);
      });
      const keyIds = new Set(listed.map(({ keyId }) => keyId));
      const known = [...(parent?.manifest.keys ?? [])].filter(({ id }) => keyIds.has(id) && id !== cipher?.keyId);
      const keys = cipher ? [...known, { id: cipher.keyId, fingerprint: cipher.fingerprint }] : known;
      const storedBytes = [...own.values()].reduce((sum, bytes) => sum + bytes, 0);
      return { images: finished, packs: listed, keys, storedBytes };
    },
    abort: () => packs.abort(),
  };
}

/** For images without a parent: there is nothing to be read. */
function noPacks(settings: Settings) {
  return createPackReader({
    objects: settings.objects,
    packs: new Map(),
    findCipher: (fingerprint) => {
      throw new DormouseError("internal", `key ${fingerprint} is asked for, but nothing was read`);
    },
    name: "an image without a parent",
    readConcurrency: settings.readConcurrency,
  });
}
