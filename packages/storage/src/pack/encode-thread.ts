// A thread that encodes what `encoders.ts` sends it, one request after the other.
import { readlinkSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { basename } from "node:path";
import { parentPort } from "node:worker_threads";
import { encodeBlock, isZero } from "../format/block-codec.ts";
import { blockBytes } from "../format/block-ref.ts";
import { createCipher } from "../format/encryption.ts";
import type { EncodedBlocks, EncodeRequest } from "./encoders.ts";

const ownId = Number(basename(readlinkSync("/proc/thread-self")));
// Beside machines, not before them as the daemon that it has its priority from.
if (getPriority(ownId) < 0) setPriority(ownId, 0);

parentPort?.on("message", (request: EncodeRequest) => {
  const encoded = encode(request);
  parentPort?.postMessage(encoded, [encoded.bytes.buffer as ArrayBuffer]);
});

function encode({ plain, key }: EncodeRequest): EncodedBlocks {
  const cipher = key && createCipher(key);
  const stored = Array.from({ length: plain.length / blockBytes }, (_, index) => {
    const block = Buffer.from(plain.buffer, plain.byteOffset + index * blockBytes, blockBytes);
    return isZero(block) ? undefined : encodeBlock(block, cipher);
  });
  const total = stored.reduce((sum, block) => sum + (block?.bytes.length ?? 0), 0);
  // Of its own memory, which is handed over.
  const bytes = new Uint8Array(total);
  let end = 0;
  const blocks = stored.map((block) => {
    if (!block) return undefined;
    const start = end;
    bytes.set(block.bytes, start);
    end += block.bytes.length;
    return { start, end, sha256: block.sha256 };
  });
  return { bytes, blocks };
}
