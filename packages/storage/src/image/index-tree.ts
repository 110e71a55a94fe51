import { type BlockRef, nodeCountOf, nodeEntries, readRef, refBytes } from "../format/block-ref.ts";
import type { PackReader } from "../pack/pack-reader.ts";

/** Bytes of an index node. */
export const nodeBytes = nodeEntries * refBytes;

/** Index nodes read ahead at once: they cover 1 GiB of an image and take less than 1 MiB. */
export const windowNodes = 64;

/**
 * An image's refs, as far as they were read: the root is a list of the index nodes'
 * refs, an index node one of the blocks'. What is absent is all zeros.
 */
export interface IndexTree {
  readonly bytes: number;
  readonly nodeCount: number;
  /** The index nodes' refs, in the form of an index node of their number. */
  rootList(signal?: AbortSignal): Promise<Buffer>;
  /** Index nodes by number; those that are absent are left out. */
  nodes(numbers: readonly number[], signal?: AbortSignal): Promise<Map<number, Buffer>>;
  /** The ref of one block; the index nodes last used are kept. */
  ref(block: number, signal?: AbortSignal): Promise<BlockRef | undefined>;
}

/** Index nodes kept for who reads blocks as they are needed: they cover 2 GiB and take 1.8 MB. */
const maxKeptNodes = 128;

/** Opens the tree below a root; nothing is read yet. */
export function openIndexTree(image: { bytes: number; root: BlockRef | null }, packs: PackReader): IndexTree {
  const nodeCount = nodeCountOf(image.bytes);
  const plainBytes = nodeCount * refBytes;
  let root: Buffer | undefined = image.root ? undefined : Buffer.alloc(plainBytes);

  // In the order of use, the least recent first: a map keeps the order of insertion.
  const kept = new Map<number, Buffer>();

  function keep(number: number, node: Buffer): void {
    kept.delete(number);
    kept.set(number, node);
    for (const oldest of kept.keys()) {
      if (kept.size <= maxKeptNodes) break;
      kept.delete(oldest);
    }
  }

  async function rootList(signal?: AbortSignal): Promise<Buffer> {
    if (!root && image.root) root = await packs.read({ ref: image.root, plainBytes }, signal);
    return root ?? Buffer.alloc(plainBytes);
  }

  async function nodes(numbers: readonly number[], signal?: AbortSignal): Promise<Map<number, Buffer>> {
    const list = await rootList(signal);
    const found = new Map<number, Buffer>();
    const wanted: { number: number; ref: BlockRef; plainBytes: number }[] = [];
    for (const number of numbers) {
      const [node, ref] = [kept.get(number), readRef(list, number)];
      if (node) found.set(number, node);
      else if (ref) wanted.push({ number, ref, plainBytes: nodeBytes });
    }
    // Copied: it may be a part of all that was fetched with it.
    await packs.readMany(wanted, ({ number }, plain) => void found.set(number, Buffer.from(plain)), signal);
    for (const [number, node] of found) keep(number, node);
    return found;
  }

  return {
    bytes: image.bytes,
    nodeCount,
    rootList,
    nodes,
    async ref(block, signal) {
      const number = Math.floor(block / nodeEntries);
      const node = (await nodes([number], signal)).get(number);
      return node && readRef(node, block % nodeEntries);
    },
  };
}

/** The numbers from 0 below `count`, in groups of {@link windowNodes}. */
export function* windowsOf(count: number): Generator<number[]> {
  for (let start = 0; start < count; start += windowNodes) {
    yield Array.from({ length: Math.min(windowNodes, count - start) }, (_, index) => start + index);
  }
}
