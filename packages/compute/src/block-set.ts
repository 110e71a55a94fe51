import { DormouseError } from "@dormouse/base";

/** Memory and drives are captured in blocks of this size. */
export const blockBytes = 65536;

/** A set of blocks, by number, as bits. */
export class BlockSet {
  readonly size: number;
  readonly #bits: Uint8Array;

  /** @param size how many blocks there are. */
  constructor(size: number) {
    this.size = size;
    this.#bits = new Uint8Array(Math.ceil(size / 8));
  }

  /** Reads {@link toHex}'s form. @throws DormouseError `internal` when it is none for `size` blocks. */
  static fromHex(size: number, digits: string): BlockSet {
    const set = new BlockSet(size);
    if (digits.length !== set.#bits.length * 2 || !/^[0-9a-f]*$/.test(digits)) {
      throw new DormouseError("internal", `a list of ${size} blocks has ${digits.length} digits, or strange ones`);
    }
    set.#bits.set(Buffer.from(digits, "hex"));
    // Bits beyond the last block would be blocks that nobody can read.
    for (let beyond = size; beyond < set.#bits.length * 8; beyond++) {
      if (set.has(beyond)) throw new DormouseError("internal", `a list of ${size} blocks names block ${beyond}`);
    }
    return set;
  }

  /** A bit for each block, the lowest bit of the first byte first. */
  toHex(): string {
    return Buffer.from(this.#bits).toString("hex");
  }

  has(block: number): boolean {
    return (((this.#bits[block >> 3] ?? 0) >> (block & 7)) & 1) === 1;
  }

  add(block: number): void {
    const byte = block >> 3;
    this.#bits[byte] = (this.#bits[byte] ?? 0) | (1 << (block & 7));
  }

  addAll(other: BlockSet): void {
    for (const [byte, bits] of other.#bits.entries()) this.#bits[byte] = (this.#bits[byte] ?? 0) | bits;
  }

  /** Ascending. */
  toArray(): Uint32Array {
    const blocks: number[] = [];
    for (const [byte, bits] of this.#bits.entries()) {
      for (let bit = 0; bits >> bit; bit++) if ((bits >> bit) & 1) blocks.push(byte * 8 + bit);
    }
    return Uint32Array.from(blocks);
  }
}
