import { hash } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { DormouseError } from "@dormouse/base";
import type { BlockRef } from "./block-ref.ts";
import { type Cipher, encryptionOverheadBytes, fingerprintOf } from "./encryption.ts";

/*
 * The stored bytes of a block, an index node or a root:
 *
 *   1  0: as it is, or 1: sealed (encryption.ts) and the rest inside
 *   1  0: as it is, or 1: compressed with zstd (RFC 8878)
 *   n  the content
 *
 * Each names its key, since an image may share blocks with a template that has another
 * key or none. The synchronous compressor is the faster one here, also on several cores:
 * for 64 KiB the asynchronous one costs more in handing over than it does in work. What is
 * written many blocks at a time is encoded on other threads as a whole (pack/encoders.ts).
 */
/** Bytes ready to be stored, and their hash. */
export interface StoredBytes {
  bytes: Buffer;
  sha256: string;
}

/** Compresses and, with a cipher, seals. Equal content with an equal key gives equal bytes. */
export function encodeBlock(plain: Uint8Array, cipher?: Cipher): StoredBytes {
  const compressed = zstdCompressSync(plain, {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
    pledgedSrcSize: plain.length,
    // One piece of output is enough also for what cannot be compressed.
    chunkSize: Math.max(plain.length + 4096, 65_536),
  });
  const isSmaller = compressed.length < plain.length;
  const content = isSmaller ? compressed : plain;
  const encoding = Buffer.from([isSmaller ? 1 : 0]);
  const bytes = cipher
    ? Buffer.concat([Buffer.from([1]), cipher.seal(Buffer.concat([encoding, content]))])
    : Buffer.concat([Buffer.from([0]), encoding, content]);
  return { bytes, sha256: sha256Of(bytes) };
}

/** Whether there is nothing but zeros. Compares with itself, shifted by one byte: as fast as any comparison. */
export function isZero(bytes: Buffer): boolean {
  return bytes[0] === 0 && bytes.compare(bytes, 0, bytes.length - 1, 1) === 0;
}

/** SHA-256 in hex. */
export function sha256Of(bytes: Uint8Array): string {
  return hash("sha256", bytes, "hex");
}

/** Finds the cipher of a fingerprint among the keys a snapshot names, or says which key is missing. */
export type FindCipher = (fingerprint: string) => Cipher;

/**
 * Checks that stored bytes are those a ref means. Nothing may look into them before.
 * @throws DormouseError `data_loss` naming pack and place.
 */
export function verifyStored(stored: Buffer, ref: BlockRef): void {
  if (stored.length === ref.length && sha256Of(stored) === ref.sha256) return;
  const found = stored.length < ref.length ? `only ${stored.length} bytes are there` : `SHA-256 ${sha256Of(stored)}`;
  throw new DormouseError(
    "data_loss",
    `pack ${ref.pack} is damaged at ${ref.offset}: ${found}, expected ${ref.length} bytes with SHA-256 ${ref.sha256}`,
    { details: { pack: ref.pack, offset: ref.offset } },
  );
}

/**
 * The content of stored bytes, which are verified first.
 * @param plainBytes the exact length that must come out; no more is ever decompressed.
 * @throws DormouseError `data_loss` when they are not what the ref means,
 *   `failed_precondition` naming the key when it is not here.
 */
export function decodeBlock(stored: Buffer, ref: BlockRef, plainBytes: number, findCipher: FindCipher): Buffer {
  verifyStored(stored, ref);
  const isSealed = stored[0] === 1 && stored.length > encryptionOverheadBytes;
  const body = stored.subarray(1);
  const inner = isSealed ? findCipher(fingerprintOf(body)).open(body) : body;
  const plain = inner[0] === 1 ? decompress(inner.subarray(1), plainBytes) : inner.subarray(1);
  if (plain?.length === plainBytes) return plain;
  throw new DormouseError(
    "data_loss",
    `pack ${ref.pack} at ${ref.offset} holds something else than ${plainBytes} bytes of content`,
    { details: { pack: ref.pack, offset: ref.offset } },
  );
}

/**
 * Stored bytes as a snapshot with `cipher` would store them: as they are, or, when they
 * were sealed with another key or none, made anew. The bytes are a copy.
 */
export function resealBlock(
  stored: Buffer,
  ref: BlockRef,
  plainBytes: number,
  findCipher: FindCipher,
  cipher: Cipher | undefined,
): StoredBytes {
  const fingerprint = stored[0] === 1 ? fingerprintOf(stored.subarray(1)) : undefined;
  if (fingerprint === cipher?.fingerprint) return { bytes: Buffer.from(stored), sha256: ref.sha256 };
  return encodeBlock(decodeBlock(stored, ref, plainBytes, findCipher), cipher);
}

function decompress(bytes: Buffer, plainBytes: number): Buffer | undefined {
  try {
    return zstdDecompressSync(bytes, {
      maxOutputLength: plainBytes,
      chunkSize: Math.max(plainBytes, 64),
      // The decompressor's memory is bounded like its output: 8 MiB are enough for a root of the largest image.
      params: { [constants.ZSTD_d_windowLogMax]: 23 },
    });
  } catch {
    // Too long or no zstd frame: either way not what it should be, which the caller says.
    return undefined;
  }
}
