import { hash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { GetOptions, ObjectStore } from "../object-store.ts";

/** What a {@link createCachedStore} keeps, and where. */
export interface CachedStoreOptions {
  /** Read when the cache does not have it, and written through. */
  objects: ObjectStore;
  /** Made with mode 0700 when missing; of one process at a time. */
  folder: string;
  /** What the cache may take on disk. */
  maxBytes: number;
  /** Objects below these prefixes never change, and are kept; default packs. */
  prefixes?: readonly string[];
}

/** Parts of objects are kept in pieces of this size: large enough to be few, small enough not to fetch much in vain. */
const segmentBytes = 1024 * 1024;
const hashBytes = 32;
/** Eviction goes on down to this part of the limit, so that it is not needed again at once. */
const lowWater = 0.9;
/** The time of use is written to disk at most so often; it only matters after a restart. */
const touchMs = 60_000;

interface Segment {
  bytes: number;
  touchedMs: number;
}

/**
 * Keeps parts of immutable objects of another store in a folder: what a host has written
 * or read once is local when it is read again. Each part lies in a file with its own
 * SHA-256, verified whenever it is read; a damaged one is fetched anew. The least
 * recently used go first. A cache that cannot be written is as good as an empty one:
 * nothing fails because of it.
 */
export async function createCachedStore(options: CachedStoreOptions): Promise<ObjectStore> {
  const { objects, maxBytes } = options;
  const folder = resolve(options.folder);
  const prefixes = options.prefixes ?? ["packs/"];
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // In the order of use, the least recent first: a map keeps the order of insertion.
  const segments = await readFolder(folder);
  let usedBytes = [...segments.values()].reduce((sum, { bytes }) => sum + bytes, 0);

  const isKept = (key: string) => prefixes.some((prefix) => key.startsWith(prefix));
  const nameOf = (key: string, index: number) => `${hash("sha256", key, "hex").slice(0, 40)}.${index}`;

  async function read(key: string, index: number): Promise<Buffer | undefined> {
    const name = nameOf(key, index);
    const segment = segments.get(name);
    if (!segment) return undefined;
    const path = join(folder, name);
    const file = await readFile(path).catch(() => Buffer.alloc(0));
    const content = file.subarray(hashBytes);
    if (file.length < hashBytes || !hash("sha256", content, "buffer").equals(file.subarray(0, hashBytes))) {
      await drop(name);
      return undefined;
    }
    segments.delete(name);
    segments.set(name, segment);
    if (Date.now() - segment.touchedMs > touchMs) {
      segment.touchedMs = Date.now();
      const now = new Date();
      await utimes(path, now, now).catch(() => {});
    }
    return content;
  }

  async function keep(key: string, index: number, content: Buffer): Promise<void> {
    const name = nameOf(key, index);
    if (segments.has(name) || content.length === 0) return;
    const bytes = content.length + hashBytes;
    const temporary = join(folder, `${name}.${randomBytes(6).toString("hex")}.tmp`);
    try {
      await writeFile(temporary, Buffer.concat([hash("sha256", content, "buffer"), content]), { mode: 0o600 });
      await rename(temporary, join(folder, name));
    } catch {
      // A full or broken disk makes the cache smaller, not the store unusable.
      await rm(temporary, { force: true }).catch(() => {});
      return;
    }
    if (!segments.has(name)) usedBytes += bytes;
    segments.set(name, { bytes, touchedMs: Date.now() });
    await evict();
  }

  async function drop(name: string): Promise<void> {
    const segment = segments.get(name);
    if (!segment) return;
    segments.delete(name);
    usedBytes -= segment.bytes;
    await rm(join(folder, name), { force: true }).catch(() => {});
  }

  async function evict(): Promise<void> {
    if (usedBytes <= maxBytes) return;
    for (const name of segments.keys()) {
      if (usedBytes <= maxBytes * lowWater) return;
      await drop(name);
    }
  }

  /** The segments of a range, those that are missing fetched with one request for each row of them. */
  async function getKept(key: string, offset: number, end: number, signal?: AbortSignal): Promise<Buffer> {
    const [first, last] = [Math.floor(offset / segmentBytes), Math.floor((end - 1) / segmentBytes)];
    const found = new Map<number, Buffer>();
    for (let index = first; index <= last; index++) {
      const content = await read(key, index);
      if (content) found.set(index, content);
    }
    for (let index = first; index <= last; index++) {
      if (found.has(index)) continue;
      let after = index + 1;
      while (after <= last && !found.has(after)) after++;
      const length = (after - index) * segmentBytes;
      const fetched = await objects.get(key, { offset: index * segmentBytes, length, signal });
      for (let missing = index; missing < after; missing++) {
        const start = (missing - index) * segmentBytes;
        const content = fetched.subarray(start, start + segmentBytes);
        found.set(missing, content);
        await keep(key, missing, content);
      }
    }
    const parts: Buffer[] = [];
    for (let index = first; index <= last; index++) {
      const content = found.get(index) ?? Buffer.alloc(0);
      const start = index * segmentBytes;
      parts.push(content.subarray(Math.max(0, offset - start), Math.max(0, end - start)));
      // A short one is the object's end.
      if (content.length < segmentBytes) break;
    }
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
  }

  return {
    name: objects.name,
    get(key: string, range: GetOptions = {}) {
      const { offset = 0, length, signal } = range;
      // Without an end there is no telling which segments are meant; nobody reads packs like that.
      if (!isKept(key) || !length) return objects.get(key, range);
      return getKept(key, offset, offset + length, signal);
    },
    async put(key, body, put) {
      if (!isKept(key)) return objects.put(key, body, put);
      const kept: number[] = [];
      try {
        await objects.put(key, body instanceof Uint8Array ? body : tee(key, body, kept), put);
      } catch (error) {
        for (const index of kept) await drop(nameOf(key, index));
        throw error;
      }
    },
    stat: (key, stat) => objects.stat(key, stat),
    list: (prefix, list) => objects.list(prefix, list),
    async remove(keys, remove) {
      await objects.remove(keys, remove);
      for (const key of keys) {
        if (!isKept(key)) continue;
        const name = nameOf(key, 0).slice(0, -1);
        for (const segment of [...segments.keys()]) if (segment.startsWith(name)) await drop(segment);
      }
    },
  };

  /** Passes a body on, and keeps it a segment at a time. */
  async function* tee(key: string, body: AsyncIterable<Uint8Array>, kept: number[]): AsyncGenerator<Uint8Array> {
    let pieces: Uint8Array[] = [];
    let bytes = 0;
    const flush = async (content: Buffer) => {
      await keep(key, kept.length, content);
      kept.push(kept.length);
    };
    for await (const piece of body) {
      yield piece;
      pieces.push(piece);
      bytes += piece.length;
      while (bytes >= segmentBytes) {
        const all = Buffer.concat(pieces);
        await flush(all.subarray(0, segmentBytes));
        pieces = [all.subarray(segmentBytes)];
        bytes -= segmentBytes;
      }
    }
    await flush(Buffer.concat(pieces));
  }
}

/** What an earlier process kept; what it had begun is removed. */
async function readFolder(folder: string): Promise<Map<string, Segment>> {
  const found: [string, Segment][] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (name.endsWith(".tmp")) {
      await rm(path, { force: true });
      continue;
    }
    const facts = await stat(path).catch(() => undefined);
    if (facts) found.push([name, { bytes: facts.size, touchedMs: facts.mtimeMs }]);
  }
  return new Map(found.sort(([, a], [, b]) => a.touchedMs - b.touchedMs));
}
