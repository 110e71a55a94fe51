import { expect, test } from "vitest";
import { encodeBlock } from "../format/block-codec.ts";
import { blockBytes } from "../format/block-ref.ts";
import { createCipher } from "../format/encryption.ts";
import { random, randomBytes } from "../testing/random.ts";
import { encodeBlocks, encodingThreads } from "./encoders.ts";

const cipher = createCipher({ id: "threads", bytes: Buffer.alloc(32, 7) });

/** As `encodeBlocks` takes them: in memory that can be handed over. */
function joined(blocks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const plain = new Uint8Array(blocks.length * blockBytes);
  for (const [index, block] of blocks.entries()) plain.set(block, index * blockBytes);
  return plain;
}

test("blocks are encoded as on this thread, in their order, and zeros are nothing", async () => {
  const next = random(1);
  const batches = Array.from({ length: 2 * encodingThreads + 3 }, (_, batch) =>
    Array.from({ length: 1 + (batch % 5) }, (_, index) =>
      index === 1 ? Buffer.alloc(blockBytes) : randomBytes(next, blockBytes, index % 2 === 0),
    ),
  );
  for (const key of [undefined, cipher]) {
    const encoded = await Promise.all(batches.map((blocks) => encodeBlocks(joined(blocks), key)));
    expect(encoded).toEqual(
      batches.map((blocks) => blocks.map((block, index) => (index === 1 ? undefined : encodeBlock(block, key)))),
    );
  }
});

test("nothing but zeros is nothing", async () => {
  expect(await encodeBlocks(joined([Buffer.alloc(blockBytes), Buffer.alloc(blockBytes)]), cipher)).toEqual([
    undefined,
    undefined,
  ]);
});

test("what a thread that ends was to do fails, and the next one does what comes then", async () => {
  const broken = { ...cipher, key: { id: "short", bytes: Buffer.alloc(3) } };
  const block = randomBytes(random(2), blockBytes);
  const failing = Array.from({ length: 2 * encodingThreads }, () => encodeBlocks(joined([block]), broken));
  for (const outcome of await Promise.allSettled(failing)) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "internal" } });
  }
  expect(await encodeBlocks(joined([block]), cipher)).toEqual([encodeBlock(block, cipher)]);
});
