import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { blockBytes, blockCountOf } from "../format/block-ref.ts";
import { createCipher, type StorageKey } from "../format/encryption.ts";
import { encodeManifest, type FileManifest, type StoredImage } from "../format/manifest.ts";
import { createImageReader } from "../image/image-reader.ts";
import type { ImageWriter } from "../image/image-writer.ts";
import { fileKey, readFileManifest } from "./catalog.ts";
import { openManifest } from "./open-manifest.ts";
import type { Settings } from "./settings.ts";
import { openWriteSession } from "./write-session.ts";

/** How a file is stored. */
export interface PutFileOptions {
  key?: StorageKey;
  signal?: AbortSignal;
}

const imageName = "file";
/** Bytes of a file read at once. */
const readBytes = 16 * blockBytes;

/**
 * Stores any file under the hash of its content, so that other hosts can fetch it. What
 * is there already is not stored again.
 * @throws DormouseError `aborted` when the file changes while it is read.
 */
export async function putFile(
  settings: Settings,
  path: string,
  options: PutFileOptions = {},
): Promise<{ sha256: string; bytes: number }> {
  const { objects } = settings;
  const { signal } = options;
  const file = await openFile(path);
  try {
    const facts = await hashFile(file, signal);
    const key = fileKey(facts.sha256);
    if (await objects.stat(key, { signal })) return facts;
    const cipher = options.key && createCipher(options.key);
    const session = openWriteSession(settings, { parent: undefined, cipher, signal });
    const begunMs = settings.clock.nowMs();
    let manifest: FileManifest;
    try {
      const image = session.image(imageName, facts.bytes, undefined);
      const written = await readFile(file, signal, (bytes, start) => writeBlocks(image, bytes, start));
      if (written.sha256 !== facts.sha256) throw new DormouseError("aborted", `${path} changed while it was read`);
      const { images, ...rest } = await session.finish();
      if (settings.clock.nowMs() - begunMs > settings.maxWriteMs) {
        throw new DormouseError("deadline_exceeded", `storing ${path} took longer than ${settings.maxWriteMs} ms`);
      }
      manifest = {
        kind: "file",
        formatVersion: 1,
        createdBy: settings.createdBy,
        createdMs: begunMs,
        sha256: facts.sha256,
        image: images.get(imageName) as StoredImage,
        keyId: cipher?.keyId ?? null,
        packs: rest.packs,
        keys: rest.keys,
        sizes: { storedBytes: rest.storedBytes, logicalBytes: facts.bytes },
      };
    } catch (error) {
      await session.abort();
      throw DormouseError.from(error, signal?.aborted ? "cancelled" : "internal");
    }
    await objects.put(key, encodeManifest(manifest, cipher).bytes, { ifAbsent: true, signal }).catch((error) => {
      // Somebody else stored the same content at the same time; the packs of this one are garbage.
      if (DormouseError.from(error).code !== "already_exists") throw error;
    });
    return facts;
  } finally {
    await file.close();
  }
}

/**
 * Fetches a file to a path, which is replaced as a whole; it is checked against its hash.
 * @throws DormouseError `not_found` without it, `data_loss` when its content is another.
 */
export async function getFile(
  settings: Settings,
  sha256: string,
  path: string,
  options: { signal?: AbortSignal; onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void } = {},
): Promise<void> {
  const name = `file ${sha256}`;
  const opened = await openManifest(await readFileManifest(settings.objects, sha256, options.signal), name, settings);
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await createImageReader({ name, ...opened.manifest.image }, opened.packs).materialise(temporary, options);
    const file = await openFile(temporary);
    try {
      const found = await hashFile(file, options.signal);
      if (found.sha256 !== sha256) throw new DormouseError("data_loss", `${name} has SHA-256 ${found.sha256}`);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw DormouseError.from(error, options.signal?.aborted ? "cancelled" : "internal");
  }
}

function openFile(path: string): Promise<FileHandle> {
  return open(path, "r").catch((error) => {
    throw DormouseError.from(error);
  });
}

function hashFile(file: FileHandle, signal?: AbortSignal) {
  return readFile(file, signal, async () => {});
}

/** Reads from the beginning to the end, and hashes what it reads. */
async function readFile(
  file: FileHandle,
  signal: AbortSignal | undefined,
  onBytes: (bytes: Buffer, start: number) => Promise<void>,
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(readBytes);
  let start = 0;
  for (;;) {
    signal?.throwIfAborted();
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, start + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled > 0) {
      hash.update(buffer.subarray(0, filled));
      await onBytes(buffer.subarray(0, filled), start);
      start += filled;
    }
    if (filled < buffer.length) return { sha256: hash.digest("hex"), bytes: start };
  }
}

async function writeBlocks(image: ImageWriter, bytes: Buffer, start: number): Promise<void> {
  const first = start / blockBytes;
  const blocks = Array.from({ length: blockCountOf(bytes.length) }, (_, index) => first + index);
  await image.writeAll(
    // Longer than when it was hashed, or shorter: the hash will say so.
    blocks.filter((block) => block < blockCountOf(image.bytes)),
    async (block, target) => void bytes.copy(target, 0, block * blockBytes - start),
  );
}
