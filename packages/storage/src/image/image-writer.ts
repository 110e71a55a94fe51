import { setImmediate } from "node:timers/promises";
import { DormouseError } from "@dormouse/base";
import { encodeBlock, isZero, resealBlock, type StoredBytes } from "../format/block-codec.ts";
import {
  assertBlock,
  type BlockRef,
  blockBytes,
  nodeCountOf,
  nodeEntries,
  readRef,
  refBytes,
  writeRef,
} from "../format/block-ref.ts";
import type { Cipher } from "../format/encryption.ts";
import type { StoredImage } from "../format/manifest.ts";
import { encodeBlocks, encodingThreads } from "../pack/encoders.ts";
import type { PackReader } from "../pack/pack-reader.ts";
import type { PackWriter } from "../pack/pack-writer.ts";
import { forEachParallel } from "../pack/parallel.ts";
import { type IndexTree, nodeBytes, openIndexTree, windowsOf } from "./index-tree.ts";
import { createLiveBytes } from "./live-bytes.ts";
import type { RecentBlocks } from "./recent-blocks.ts";

/** Writes an image relative to the parent's, or from all zeros. Different blocks may be written at the same time. */
export interface ImageWriter {
  readonly bytes: number;
  /**
   * Sets a block: 64 KiB, or what is left of the image's end. Zeros take no room, and
   * neither does content that is there already. Resolves when more can be taken.
   */
  write(block: number, data: Uint8Array): Promise<void>;
  /**
   * Sets many blocks, which are read, encoded and stored side by side.
   * @param read fills `target`, of the block's length, with the block's content; called for several at once.
   */
  writeAll(blocks: Iterable<number>, read: (block: number, target: Buffer) => Promise<void>): Promise<void>;
}

/** What images of one snapshot share. */
export interface ImageContext {
  packs: PackWriter;
  /** Reads the parent's blocks. */
  parentPacks: PackReader;
  recent: RecentBlocks;
  cipher: Cipher | undefined;
  signal: AbortSignal | undefined;
}

/** The writer's side that only the snapshot sees. */
export interface OpenImage extends ImageWriter {
  readonly live: ReadonlyMap<string, number>;
  /** Stores again what lies in these packs, so that the image needs them no longer. */
  moveOut(packs: ReadonlySet<string>): Promise<void>;
  /** Stores the index nodes that changed, and the root. */
  finish(): Promise<StoredImage>;
}

interface OpenNode {
  list: Buffer;
  isChanged: boolean;
}

/** So much is encoded before others get their turn: encoding is synchronous, and a scan may meet nothing to wait for. */
const turnBytes = 1024 * 1024;

/** Blocks that go to an encoding thread together. */
const batchBlocks = 16;
/** Each thread has one; one is being read, and one written. */
const batchesAtOnce = encodingThreads + 2;

/** An {@link OpenImage} whose content is the parent's. A parent may be smaller: images grow, they do not shrink. */
export function createImageWriter(
  image: { name: string; bytes: number; parent: StoredImage | undefined },
  context: ImageContext,
): OpenImage {
  const { packs, recent, cipher, signal } = context;
  const parent = image.parent ?? { bytes: 0, root: null, live: {} };
  const tree = openIndexTree(parent, context.parentPacks);
  const live = createLiveBytes(parent.live);
  const nodes = new Map<number, Promise<OpenNode>>();
  let root: Promise<Buffer> | undefined;
  let movedOut: ReadonlySet<string> = new Set();
  let sinceTurnBytes = 0;
  /** What is on its way into a pack, by its hash: equal blocks that come together are stored once. */
  const storing = new Map<string, Promise<BlockRef>>();

  function openRoot(): Promise<Buffer> {
    root ??= grownRoot(tree, image.bytes, signal);
    return root;
  }

  function openNode(number: number): Promise<OpenNode> {
    const known = nodes.get(number);
    if (known) return known;
    const opened = openRoot().then(async () => {
      const list = number < tree.nodeCount ? (await tree.nodes([number], signal)).get(number) : undefined;
      // A copy: what the reader gives may be a part of a larger buffer.
      return { list: list ? Buffer.from(list) : Buffer.alloc(nodeBytes), isChanged: false };
    });
    nodes.set(number, opened);
    return opened;
  }

  async function store(stored: StoredBytes): Promise<BlockRef> {
    const { sha256 } = stored;
    // Nothing is awaited between the look and the note: an equal block may be right behind.
    const known = recent.find(sha256) ?? storing.get(sha256);
    if (known) return await known;
    const appended = packs.append(stored);
    storing.set(sha256, appended);
    try {
      const ref = await appended;
      recent.add(ref);
      return ref;
    } finally {
      storing.delete(sha256);
    }
  }

  /** Stores a list of refs, unless it is what stood there before and may stay where it is. */
  async function storeList(list: Buffer, before: BlockRef | undefined): Promise<BlockRef | undefined> {
    if (isZero(list)) return undefined;
    const stored = encodeBlock(list, cipher);
    return before?.sha256 === stored.sha256 && !movedOut.has(before.pack) ? before : store(stored);
  }

  function setEntry(node: OpenNode, entry: number, ref: BlockRef | undefined): void {
    const before = readRef(node.list, entry);
    if (!before && !ref) return;
    live.replace(before, ref);
    writeRef(node.list, entry, ref);
    node.isChanged = true;
  }

  async function put(block: number, stored: StoredBytes | undefined): Promise<void> {
    const node = await openNode(Math.floor(block / nodeEntries));
    const entry = block % nodeEntries;
    if (!stored) setEntry(node, entry, undefined);
    else if (readRef(node.list, entry)?.sha256 !== stored.sha256) setEntry(node, entry, await store(stored));
  }

  return {
    bytes: image.bytes,
    live: live.byPack,
    async write(block, data) {
      signal?.throwIfAborted();
      assertBlock(image.name, block, image.bytes);
      const plain = padded(image, block, data);
      sinceTurnBytes += blockBytes;
      if (sinceTurnBytes >= turnBytes) {
        sinceTurnBytes = 0;
        await setImmediate();
      }
      await put(block, plain && encodeBlock(plain, cipher));
    },
    async writeAll(blocks, read) {
      await forEachParallel(batchesOf(blocks), batchesAtOnce, async (batch) => {
        signal?.throwIfAborted();
        const plain = new Uint8Array(batch.length * blockBytes);
        for (const [index, block] of batch.entries()) {
          assertBlock(image.name, block, image.bytes);
          const length = Math.min(blockBytes, image.bytes - block * blockBytes);
          await read(block, Buffer.from(plain.buffer, index * blockBytes, length));
        }
        const encoded = await encodeBlocks(plain, cipher);
        for (const [index, block] of batch.entries()) await put(block, encoded[index]);
      });
    },
    async moveOut(victims) {
      movedOut = victims;
      const rootList = await openRoot();
      for (const window of windowsOf(nodeCountOf(image.bytes))) {
        const present = window.filter((number) => readRef(rootList, number) || nodes.has(number));
        const moves: { ref: BlockRef; node: OpenNode; entry: number }[] = [];
        const unopened = present.filter((number) => !nodes.has(number));
        const lists = await tree.nodes(unopened, signal);
        for (const number of present) {
          const list = lists.get(number);
          const node = list ? { list: Buffer.from(list), isChanged: false } : await openNode(number);
          const inVictims = (ref: BlockRef | undefined) => ref !== undefined && victims.has(ref.pack);
          for (let entry = 0; entry < nodeEntries; entry++) {
            const ref = readRef(node.list, entry);
            if (ref && inVictims(ref)) moves.push({ ref, node, entry });
          }
          if (inVictims(readRef(rootList, number))) node.isChanged = true;
          // Kept only if it will change: the others would fill the memory for nothing.
          if (node.isChanged || moves.at(-1)?.node === node) nodes.set(number, Promise.resolve(node));
        }
        const byPlace = Map.groupBy(moves, ({ ref }) => `${ref.pack}.${ref.offset}`);
        const refs = [...byPlace.values()].flatMap(([first]) => (first ? [first.ref] : []));
        await context.parentPacks.readStored(
          refs,
          async (ref, stored) => {
            const moved = await store(resealBlock(stored, ref, blockBytes, context.parentPacks.findCipher, cipher));
            for (const { node, entry } of byPlace.get(`${ref.pack}.${ref.offset}`) ?? []) setEntry(node, entry, moved);
          },
          signal,
        );
      }
    },
    async finish() {
      const rootList = await openRoot();
      for (const [number, opened] of nodes) {
        const node = await opened;
        if (!node.isChanged) continue;
        const before = readRef(rootList, number);
        const ref = await storeList(node.list, before);
        live.replace(before, ref);
        writeRef(rootList, number, ref);
      }
      const before = parent.root ?? undefined;
      const ref = await storeList(rootList, before);
      live.replace(before, ref);
      return { bytes: image.bytes, root: ref ?? null, live: Object.fromEntries(live.byPack) };
    },
  };
}

/** The parent's root, with room for the index nodes that a larger image has. */
async function grownRoot(tree: IndexTree, bytes: number, signal: AbortSignal | undefined): Promise<Buffer> {
  const root = Buffer.alloc(nodeCountOf(bytes) * refBytes);
  (await tree.rootList(signal)).copy(root);
  return root;
}

/** The data as a full block, undefined when it is all zeros. */
function padded(image: { name: string; bytes: number }, block: number, data: Uint8Array): Buffer | undefined {
  const expected = Math.min(blockBytes, image.bytes - block * blockBytes);
  if (data.length !== expected && data.length !== blockBytes) {
    throw new DormouseError(
      "invalid_argument",
      `block ${block} of ${image.name} with ${data.length} bytes: it must have ${expected}`,
    );
  }
  const view = Buffer.from(data.buffer, data.byteOffset, expected);
  if (isZero(view)) return undefined;
  return expected === blockBytes ? view : Buffer.concat([view], blockBytes);
}

function* batchesOf(blocks: Iterable<number>): Generator<number[]> {
  let batch: number[] = [];
  for (const block of blocks) {
    batch.push(block);
    if (batch.length < batchBlocks) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
