import { randomBytes } from "node:crypto";
import { DormouseError } from "@dormouse/base";
import type { StoredBytes } from "../format/block-codec.ts";
import type { BlockRef } from "../format/block-ref.ts";
import { encodePackHeader, maxPackBytes, packHeaderBytes, packKey } from "../format/pack-header.ts";
import type { ObjectStore } from "../object-store.ts";
import { type ByteQueue, createByteQueue } from "./byte-queue.ts";
import type { RateLimit } from "./rate-limit.ts";

/** Where a {@link PackWriter} puts its packs, and how fast. */
export interface PackWriterOptions {
  objects: ObjectStore;
  fingerprint: string | null;
  rateLimit: RateLimit;
  /** Packs being uploaded at once. */
  uploadConcurrency: number;
  /** Packs are closed before they grow beyond this. */
  packBytes?: number;
  signal?: AbortSignal;
}

/** Puts stored bytes into packs, which stream to the object store while they are written. */
export interface PackWriter {
  /** Appends to a pack. Resolves when there is room for more, which bounds the memory this takes. */
  append(stored: StoredBytes): Promise<BlockRef>;
  /** Whether a pack is one of this writer's. */
  owns(pack: string): boolean;
  /** Ends the last pack and waits until all are stored; gives the bytes of each. */
  finish(): Promise<ReadonlyMap<string, number>>;
  /** Stops uploading and removes what is stored. What cannot be removed is garbage, for the collector. */
  abort(): Promise<void>;
}

/** Bytes that may wait for the object store in one pack: enough to keep an upload busy. */
const queueBytes = 4 * 1024 * 1024;

interface OpenPack {
  id: string;
  bytes: number;
  queue: ByteQueue;
}

/** A {@link PackWriter} that has written nothing; a pack begins with the first bytes for it. */
export function createPackWriter(options: PackWriterOptions): PackWriter {
  const { objects, rateLimit } = options;
  const limitBytes = Math.min(options.packBytes ?? maxPackBytes, maxPackBytes);
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const packs = new Map<string, number>();
  const uploads = new Set<Promise<void>>();
  let current: OpenPack | undefined;
  let failure: DormouseError | undefined;
  let last: Promise<unknown> = Promise.resolve();

  const fail = (error: unknown) => {
    failure ??= DormouseError.from(error, signal.aborted ? "cancelled" : "internal");
    current?.queue.fail(failure);
  };

  async function begin(): Promise<OpenPack> {
    while (uploads.size >= options.uploadConcurrency) await Promise.race(uploads);
    if (failure) throw failure;
    const pack = { id: randomBytes(16).toString("hex"), bytes: packHeaderBytes, queue: createByteQueue(queueBytes) };
    packs.set(pack.id, 0);
    current = pack;
    const upload = objects.put(packKey(pack.id), limited(pack.queue, rateLimit, signal), { signal }).then(
      () => {},
      (error) => {
        pack.queue.fail(error);
        fail(error);
      },
    );
    uploads.add(upload);
    upload.then(() => uploads.delete(upload));
    await pack.queue.push(encodePackHeader({ id: pack.id, fingerprint: options.fingerprint }));
    return pack;
  }

  function close(): void {
    if (!current) return;
    packs.set(current.id, current.bytes);
    current.queue.end();
    current = undefined;
  }

  async function append(stored: StoredBytes): Promise<BlockRef> {
    signal.throwIfAborted();
    if (failure) throw failure;
    if (current && current.bytes + stored.bytes.length > limitBytes) close();
    const pack = current ?? (await begin());
    const ref = { pack: pack.id, offset: pack.bytes, length: stored.bytes.length, sha256: stored.sha256 };
    pack.bytes += stored.bytes.length;
    await pack.queue.push(stored.bytes);
    return ref;
  }

  return {
    append(stored) {
      // One after the other: a pack is closed and the next begun between two of them.
      const appended = last.then(() => append(stored));
      last = appended.catch(() => {});
      return appended;
    },
    owns: (pack) => packs.has(pack),
    async finish() {
      await last;
      close();
      await Promise.all(uploads);
      if (failure) throw failure;
      signal.throwIfAborted();
      return packs;
    },
    async abort() {
      stop.abort(new DormouseError("cancelled", "the snapshot was given up"));
      fail(stop.signal.reason);
      await last;
      await Promise.all(uploads);
      await objects.remove([...packs.keys()].map(packKey)).catch(() => {
        // Nobody lists these packs: the garbage collector removes them once they are old enough.
      });
    },
  };
}

async function* limited(
  pieces: AsyncIterable<Uint8Array>,
  rateLimit: RateLimit,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    await rateLimit.take(piece.length, signal);
    yield piece;
  }
}
