import { DormouseError } from "@dormouse/base";

/** Bytes of every block, the unit in which images are stored: small enough to follow what a guest writes, large enough to compress. */
export const blockBytes = 65_536;

/** Entries of an index node, so that a node covers 16 MiB of an image. */
export const nodeEntries = 256;

/** Where the stored bytes of a block, an index node or a root lie, and what they must be. */
export interface BlockRef {
  /** Id of the pack, 32 hex characters. */
  pack: string;
  /** Bytes from the beginning of the pack. */
  offset: number;
  /** Length of the stored bytes. */
  length: number;
  /** SHA-256 of the stored bytes, 64 hex characters: checked before anything in them is interpreted. */
  sha256: string;
}

/** Bytes of a ref in an index node or a root: pack id 16, offset 4, length 4 (little endian), SHA-256 32. All zeros: no block. */
export const refBytes = 56;

/** Writes a ref, or its absence, as entry `index` of a list of refs. */
export function writeRef(list: Buffer, index: number, ref: BlockRef | undefined): void {
  const at = index * refBytes;
  if (!ref) {
    list.fill(0, at, at + refBytes);
    return;
  }
  list.write(ref.pack, at, "hex");
  list.writeUInt32LE(ref.offset, at + 16);
  list.writeUInt32LE(ref.length, at + 20);
  list.write(ref.sha256, at + 24, "hex");
}

/** Entry `index` of a list of refs; a stored block is never empty, so a length of zero means there is none. */
export function readRef(list: Buffer, index: number): BlockRef | undefined {
  const at = index * refBytes;
  const length = list.readUInt32LE(at + 20);
  if (length === 0) return undefined;
  return {
    pack: list.toString("hex", at, at + 16),
    offset: list.readUInt32LE(at + 16),
    length,
    sha256: list.toString("hex", at + 24, at + refBytes),
  };
}

/** Whether two entries mean the same content: both absent, or the same stored bytes. */
export function isSameContent(a: BlockRef | undefined, b: BlockRef | undefined): boolean {
  return a?.sha256 === b?.sha256;
}

/** How many blocks an image of `bytes` has. */
export function blockCountOf(bytes: number): number {
  return Math.ceil(bytes / blockBytes);
}

/** How many index nodes an image of `bytes` has. */
export function nodeCountOf(bytes: number): number {
  return Math.ceil(blockCountOf(bytes) / nodeEntries);
}

/** 1 TiB: its root has 65,536 refs, 3.5 MiB. */
export const maxImageBytes = 2 ** 40;

/** @throws DormouseError `invalid_argument` naming the image and its limit. */
export function assertImageBytes(name: string, bytes: number): void {
  if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= maxImageBytes) return;
  throw new DormouseError(
    "invalid_argument",
    `${name} of ${bytes} bytes: an image has 0 to ${maxImageBytes} whole bytes`,
  );
}

/** @throws DormouseError `out_of_range` when an image of `bytes` has no such block. */
export function assertBlock(name: string, block: number, bytes: number): void {
  if (Number.isInteger(block) && block >= 0 && block < blockCountOf(bytes)) return;
  throw new DormouseError("out_of_range", `${name} has blocks 0 to ${blockCountOf(bytes) - 1}, not ${block}`);
}
