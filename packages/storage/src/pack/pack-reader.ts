import { DormouseError } from "@dormouse/base";
import { decodeBlock, type FindCipher, verifyStored } from "../format/block-codec.ts";
import type { BlockRef } from "../format/block-ref.ts";
import { checkPackHeader, packHeaderBytes, packKey } from "../format/pack-header.ts";
import type { ObjectStore } from "../object-store.ts";
import { forEachParallel } from "./parallel.ts";

/** A pack that may be read, and what its header must say. */
export interface ReadablePack {
  bytes: number;
  fingerprint: string | null;
}

/** What a {@link PackReader} reads from. */
export interface PackReaderOptions {
  objects: ObjectStore;
  /** The packs that the manifest lists. */
  packs: ReadonlyMap<string, ReadablePack>;
  findCipher: FindCipher;
  /** Names the snapshot in messages. */
  name: string;
  /** Ranged reads at once; each takes at most {@link maxRunBytes}. */
  readConcurrency: number;
}

/** Something to be read: where it lies, and how long its content must be. */
export interface WantedBlock {
  ref: BlockRef;
  plainBytes: number;
}

/** Reads stored blocks out of packs. Whatever is wrong with them is `data_loss` naming the pack. */
export interface PackReader {
  readonly findCipher: FindCipher;
  /** The content of one block. */
  read(wanted: WantedBlock, signal?: AbortSignal): Promise<Buffer>;
  /** The contents of many, in any order; neighbours in a pack are fetched together. */
  readMany<Wanted extends WantedBlock>(
    wanted: readonly Wanted[],
    onBlock: (wanted: Wanted, plain: Buffer) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void>;
  /** As {@link readMany}, but the stored bytes, verified and not interpreted. */
  readStored(
    refs: readonly BlockRef[],
    onStored: (ref: BlockRef, stored: Buffer) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void>;
}

/** Blocks of a pack within this distance are fetched with one request: reading on is cheaper than asking again. */
const maxGapBytes = 64 * 1024;
/** The most one request fetches. */
const maxRunBytes = 4 * 1024 * 1024;

/** A {@link PackReader} over the packs of one manifest. */
export function createPackReader(options: PackReaderOptions): PackReader {
  const { objects, packs, findCipher, name } = options;
  const headers = new Map<string, Promise<void>>();

  /** Each pack's header is checked once, before its first block is believed. */
  function checkHeader(id: string, pack: ReadablePack): Promise<void> {
    const known = headers.get(id);
    if (known) return known;
    // Without a caller's signal: others wait for the same check.
    const check = fetch(id, 0, packHeaderBytes).then((header) => {
      checkPackHeader(header, { id, fingerprint: pack.fingerprint });
    });
    headers.set(id, check);
    // A failure may be the network's; the next reader asks again.
    check.catch(() => headers.delete(id));
    return check;
  }

  async function fetch(id: string, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    try {
      return await objects.get(packKey(id), { offset, length, signal });
    } catch (error) {
      if (DormouseError.from(error).code !== "not_found") throw error;
      throw new DormouseError("data_loss", `pack ${id}, which ${name} needs, is missing in ${objects.name}`, {
        cause: error,
        details: { pack: id },
      });
    }
  }

  function listedPack(ref: BlockRef): ReadablePack {
    const pack = packs.get(ref.pack);
    if (pack && ref.offset >= packHeaderBytes && ref.offset + ref.length <= pack.bytes) return pack;
    throw new DormouseError(
      "data_loss",
      `${name} refers to ${ref.length} bytes at ${ref.offset} of pack ${ref.pack}, ${pack ? `which has ${pack.bytes}` : "which its manifest does not list"}`,
      { details: { pack: ref.pack } },
    );
  }

  async function readRuns<Item>(
    items: readonly Item[],
    refOf: (item: Item) => BlockRef,
    onStored: (item: Item, stored: Buffer) => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void> {
    await forEachParallel(runsOf(items, refOf), options.readConcurrency, async (run) => {
      signal?.throwIfAborted();
      await checkHeader(run.pack, listedPack(refOf(run.items[0] as Item)));
      for (const item of run.items) listedPack(refOf(item));
      const bytes = await fetch(run.pack, run.start, run.end - run.start, signal);
      for (const item of run.items) {
        const ref = refOf(item);
        await onStored(item, bytes.subarray(ref.offset - run.start, ref.offset - run.start + ref.length));
      }
    });
  }

  const readMany: PackReader["readMany"] = (wanted, onBlock, signal) =>
    readRuns(
      wanted,
      (item) => item.ref,
      (item, stored) => onBlock(item, decodeBlock(stored, item.ref, item.plainBytes, findCipher)),
      signal,
    );

  return {
    findCipher,
    readMany,
    async read(wanted, signal) {
      let content: Buffer | undefined;
      await readMany(
        [wanted],
        (_, plain) => {
          content = plain;
        },
        signal,
      );
      if (!content) throw new DormouseError("internal", "a block was neither read nor refused");
      return content;
    },
    readStored: (refs, onStored, signal) =>
      readRuns(
        refs,
        (ref) => ref,
        (ref, stored) => {
          verifyStored(stored, ref);
          return onStored(ref, stored);
        },
        signal,
      ),
  };
}

interface Run<Item> {
  pack: string;
  start: number;
  end: number;
  items: Item[];
}

/** Sorts by place and joins neighbours. */
function runsOf<Item>(items: readonly Item[], refOf: (item: Item) => BlockRef): Run<Item>[] {
  const sorted = items
    .map((item) => ({ item, ref: refOf(item) }))
    .sort((a, b) => (a.ref.pack === b.ref.pack ? a.ref.offset - b.ref.offset : a.ref.pack < b.ref.pack ? -1 : 1));
  const runs: Run<Item>[] = [];
  for (const { item, ref } of sorted) {
    const run = runs.at(-1);
    const end = ref.offset + ref.length;
    if (run?.pack === ref.pack && ref.offset - run.end <= maxGapBytes && end - run.start <= maxRunBytes) {
      run.items.push(item);
      run.end = Math.max(run.end, end);
    } else {
      runs.push({ pack: ref.pack, start: ref.offset, end, items: [item] });
    }
  }
  return runs;
}
