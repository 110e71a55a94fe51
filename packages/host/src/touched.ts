import { deflateRawSync, inflateRawSync } from "node:zlib";
import { BlockSet } from "@dormouse/compute";

/** A bit for each block, deflated, in base64: less than a kilobyte for most machines. */
export function encodeTouched(blocks: BlockSet): string {
  return deflateRawSync(Buffer.from(blocks.toHex(), "hex")).toString("base64");
}

/** Blocks, ascending. It only says what comes first: of a list that cannot be read there is nothing to say. */
export function decodeTouched(text: string, blockCount: number): readonly number[] {
  try {
    const bits = inflateRawSync(Buffer.from(text, "base64"), { maxOutputLength: Math.ceil(blockCount / 8) });
    return [...BlockSet.fromHex(blockCount, bits.toString("hex")).toArray()];
  } catch {
    return [];
  }
}
