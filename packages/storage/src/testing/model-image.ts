import { expect } from "vitest";
import { blockBytes, blockCountOf } from "../format/block-ref.ts";
import type { ImageReader } from "../image/image-reader.ts";
import type { ImageWriter } from "../image/image-writer.ts";
import { randomBytes } from "./random.ts";

/** What an image should contain: blocks that are not all zeros. */
export interface ModelImage {
  bytes: number;
  blocks: Map<number, Buffer>;
}

const zeroBlock = Buffer.alloc(blockBytes);

/** A model of an empty image. */
export function createModel(bytes: number): ModelImage {
  return { bytes, blocks: new Map() };
}

/**
 * Changes some blocks of a model and writes the same into an image: new content that does
 * or does not compress, zeros, what is there already, what another block has.
 */
export async function changeRandomly(
  model: ModelImage,
  image: ImageWriter,
  next: () => number,
  changes: number,
): Promise<void> {
  const count = blockCountOf(model.bytes);
  for (let change = 0; change < changes; change++) {
    // Most writes of a machine go to few places.
    const block = Math.floor((next() < 0.7 ? next() * next() * next() : next()) * count);
    const bytes = Math.min(blockBytes, model.bytes - block * blockBytes);
    const content = contentFor(model, next, block);
    await image.write(block, content.subarray(0, bytes));
    setBlock(model, block, content.subarray(0, bytes));
  }
}

function contentFor(model: ModelImage, next: () => number, block: number): Buffer {
  const kind = next();
  if (kind < 0.15) return Buffer.alloc(blockBytes);
  if (kind < 0.25) return model.blocks.get(block) ?? Buffer.alloc(blockBytes);
  if (kind < 0.35) {
    const others = [...model.blocks.values()];
    return others[Math.floor(next() * others.length)] ?? Buffer.alloc(blockBytes, 3);
  }
  return randomBytes(next, blockBytes, kind < 0.7);
}

/** Sets a block of a model, padded with zeros. */
export function setBlock(model: ModelImage, block: number, content: Buffer): void {
  const full = Buffer.concat([content], blockBytes);
  if (full.equals(zeroBlock)) model.blocks.delete(block);
  else model.blocks.set(block, full);
}

/** A copy, to change without changing the original. */
export function copyModel(model: ModelImage): ModelImage {
  return { bytes: model.bytes, blocks: new Map(model.blocks) };
}

/** Compares an image, block by block, with what it should contain. */
export async function expectImage(image: ImageReader | undefined, model: ModelImage): Promise<void> {
  expect(image?.bytes).toBe(model.bytes);
  for (let block = 0; block < blockCountOf(model.bytes); block++) {
    const content = await image?.readBlock(block);
    const expected = model.blocks.get(block) ?? zeroBlock;
    if (!content?.equals(expected)) expect.fail(`block ${block} of ${image?.name} is not what was written`);
  }
}
