import { randomBytes as systemBytes } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { createId, manualClock } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { blockBytes, blockCountOf, nodeEntries, readRef } from "../format/block-ref.ts";
import type { StorageKey } from "../format/encryption.ts";
import type { SnapshotManifest } from "../format/manifest.ts";
import type { ImageWriter } from "../image/image-writer.ts";
import type { ObjectStore } from "../object-store.ts";
import {
  changeRandomly,
  copyModel,
  createModel,
  expectImage,
  type ModelImage,
  setBlock,
} from "../testing/model-image.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot-store.ts";
import type { BeginOptions } from "./snapshot-writer.ts";

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
let folder: string;
beforeAll(async () => {
  testFolder = await createTestFolder("snapshots");
  folder = testFolder.path;
});
afterAll(() => testFolder[Symbol.asyncDispose]());

const newObjects = () => createFileStore({ folder: join(folder, createId("store")) });
const workspaceId = createId("ws");
const first: BeginOptions = { workspaceId, generation: 1, reason: "periodic", parent: null };
const placeOf = ({ workspaceId, id }: SnapshotManifest) => ({ workspaceId, id });

/** Publishes a snapshot with one memory image, filled by `fill`. */
async function publish(
  store: SnapshotStore,
  bytes: number,
  options: Partial<BeginOptions>,
  fill: (memory: ImageWriter) => Promise<void>,
): Promise<SnapshotManifest> {
  const writer = await store.begin({ ...first, ...options });
  await fill(writer.memory(bytes));
  return writer.publish();
}

async function packNames(objects: ObjectStore): Promise<string[]> {
  const names: string[] = [];
  for await (const { key } of objects.list("packs/")) names.push(key);
  return names;
}

/** Live bytes by pack, counted by walking the whole tree. */
async function liveByWalking(objects: ObjectStore, manifest: SnapshotManifest): Promise<Record<string, number>> {
  const reader = await createSnapshotStore({ objects }).open(manifest.workspaceId, manifest.id);
  const sums: Record<string, number> = {};
  const add = (ref: { pack: string; length: number } | undefined | null) => {
    if (ref) sums[ref.pack] = (sums[ref.pack] ?? 0) + ref.length;
  };
  const tree = reader.memory?.tree;
  if (!tree) return sums;
  add(manifest.memory?.root);
  const root = await tree.rootList();
  for (let node = 0; node < tree.nodeCount; node++) {
    add(readRef(root, node));
    const list = (await tree.nodes([node])).get(node);
    for (let entry = 0; list && entry < nodeEntries; entry++) add(readRef(list, entry));
  }
  return sums;
}

test("memory, disks, devices and facts come back as they were written", async () => {
  const objects = await newObjects();
  const store = createSnapshotStore({ objects });
  const next = random(1);
  const writer = await store.begin({
    ...first,
    reason: "hibernate",
    name: "before the change",
    compatibility: { vmm: "qemu", version: "10.0.2" },
  });
  const memory = createModel(40 * 1024 * 1024);
  const disk = createModel(3 * blockBytes + 1000);
  await changeRandomly(memory, writer.memory(memory.bytes), next, 200);
  await changeRandomly(disk, writer.disk("work", disk.bytes), next, 10);
  const devices = randomBytes(next, 200_001);
  await writer.devices(devices);
  writer.facts({ branch: "main", processes: ["node", "bash"] });
  const manifest = await writer.publish();

  const reader = await store.open(workspaceId, writer.id);
  await expectImage(reader.memory, memory);
  await expectImage(reader.disk("work"), disk);
  expect((await reader.devices()).equals(devices)).toBe(true);
  await reader.verify();
  expect(reader.manifest).toEqual(manifest);
  expect(manifest).toMatchObject({
    workspaceId,
    name: "before the change",
    reason: "hibernate",
    parent: null,
    compatibility: { vmm: "qemu" },
    facts: { branch: "main" },
  });
  expect(() => reader.disk("other")).toThrow("has no disk other; it has work");
  await expect(reader.memory?.readBlock(640)).rejects.toThrow("has blocks 0 to 639, not 640");
  expect(manifest.sizes.storedBytes).toBe(manifest.packs.reduce((sum, { bytes }) => sum + bytes, 0));
});

test.each([11, 12])("a chain of random snapshots: each reads back as it was (seed %i)", async (seed) => {
  const next = random(seed);
  const objects = await newObjects();
  const key = { id: "org", bytes: systemBytes(32) };
  const isSealed = seed % 2 === 0;
  const store = createSnapshotStore({
    objects,
    findKey: (id) => (id === "org" ? key : undefined),
    packBytes: 1_000_000,
    cleaning: { maxSmallPacks: 6, smallPackBytes: 300_000 },
  });
  const model = createModel((600 + Math.floor(next() * 100)) * blockBytes - Math.floor(next() * 5000));
  const published: { manifest: SnapshotManifest; model: ModelImage }[] = [];
  let mostPacks = 0;
  for (let round = 0; round < 16; round++) {
    const before = published.at(-1);
    const parent = before ? placeOf(before.manifest) : null;
    const manifest = await publish(store, model.bytes, { parent, key: isSealed ? key : undefined }, (memory) =>
      changeRandomly(model, memory, next, round === 0 ? 150 : Math.floor(next() * 25)),
    );
    published.push({ manifest, model: copyModel(model) });
    mostPacks = Math.max(mostPacks, manifest.packs.length);
    if (!isSealed) expect(manifest.memory?.live).toEqual(await liveByWalking(objects, manifest));
  }
  // Small ones are limited; each larger one holds at least 300 kB of the at most 10 MB.
  expect(mostPacks).toBeLessThanOrEqual(6 + 1 + 35);
  for (const { manifest, model } of published) {
    const reader = await store.open(workspaceId, manifest.id);
    await expectImage(reader.memory, model);
  }
  // Between any two of them: what differs is exactly what is said to differ.
  for (let pair = 0; pair < 5; pair++) {
    const pick = () => published[Math.floor(next() * published.length)];
    const [a, b] = [pick(), pick()];
    if (!a || !b) continue;
    const [newer, older] = [await store.open(workspaceId, a.manifest.id), await store.open(workspaceId, b.manifest.id)];
    if (!newer.memory || !older.memory) throw new Error("both have a memory");
    const changed: number[] = [];
    for await (const block of newer.memory.changedBlocks(older.memory)) changed.push(block);
    const zero = Buffer.alloc(blockBytes);
    const expected = Array.from({ length: blockCountOf(model.bytes) }, (_, block) => block).filter(
      (block) => !(a.model.blocks.get(block) ?? zero).equals(b.model.blocks.get(block) ?? zero),
    );
    expect(changed).toEqual(expected);
  }
});

test("without cleaning the number of packs grows with the chain; with it, it does not", async () => {
  const grow = async (cleaning: { maxSmallPacks?: number; minLiveFraction?: number }) => {
    const next = random(21);
    const store = createSnapshotStore({ objects: await newObjects(), cleaning });
    const model = createModel(300 * blockBytes);
    let manifest: SnapshotManifest | undefined;
    for (let round = 0; round < 60; round++) {
      manifest = await publish(store, model.bytes, { parent: manifest ? placeOf(manifest) : null }, (memory) =>
        changeRandomly(model, memory, next, 4),
      );
    }
    if (!manifest) throw new Error("there are rounds");
    await expectImage((await store.open(workspaceId, manifest.id)).memory, model);
    return manifest.packs.length;
  };
  const [without, with8] = [await grow({ maxSmallPacks: 1000, minLiveFraction: 0 }), await grow({ maxSmallPacks: 8 })];
  expect(without).toBeGreaterThan(25);
  expect(with8).toBeLessThanOrEqual(9);
});

test("what is there is not stored again: zeros, the parent's content, equal blocks, unchanged nodes", async () => {
  const objects = await newObjects();
  const store = createSnapshotStore({ objects });
  const next = random(31);
  const bytes = 1024 * blockBytes;
  const contents = Array.from({ length: 1024 }, () => randomBytes(next, blockBytes));
  const base = await publish(store, bytes, {}, async (memory) => {
    for (const [block, content] of contents.entries()) await memory.write(block, content);
  });
  // Random bytes do not compress: what is stored is the content and little else.
  expect(base.sizes.storedBytes).toBeGreaterThan(bytes);
  expect(base.sizes.storedBytes).toBeLessThan(bytes + 100_000);
  expect(base.packs).toHaveLength(2);

  const same = await publish(store, bytes, { parent: placeOf(base) }, async (memory) => {
    for (const [block, content] of contents.entries()) await memory.write(block, content);
  });
  expect(same.sizes.storedBytes).toBe(0);
  expect(same.memory).toEqual(base.memory);

  const cleared = await publish(store, bytes, { parent: placeOf(base) }, (memory) =>
    memory.write(5, Buffer.alloc(blockBytes)),
  );
  // One index node, nearly full, and the root.
  expect(cleared.sizes.storedBytes).toBeLessThan(16_000);

  const doubled = await publish(store, 2 * bytes, { parent: null }, async (memory) => {
    const block = randomBytes(next, blockBytes);
    for (let copy = 0; copy < 100; copy++) await memory.write(copy * 20, block);
  });
  expect(doubled.sizes.storedBytes).toBeLessThan(blockBytes + 16_000);
  expect(doubled.packs).toHaveLength(1);
});

test("many blocks at once become what they become one by one", async () => {
  const objects = await newObjects();
  const key = { id: "many", bytes: systemBytes(32) };
  const store = createSnapshotStore({ objects, findKey: () => key });
  // The last block is a short one.
  const model = createModel(300 * blockBytes + 5);
  const before = await publish(store, model.bytes, { key }, (memory) => changeRandomly(model, memory, random(51), 100));
  const next = random(52);
  const equal = randomBytes(next, blockBytes);
  for (let block = 0; block <= 300; block++) {
    const content = [equal, Buffer.alloc(blockBytes), randomBytes(next, blockBytes)][block % 3] ?? equal;
    if (block % 7 > 2) setBlock(model, block, content.subarray(0, block === 300 ? 5 : blockBytes));
  }
  const read = async (block: number, target: Buffer) => void model.blocks.get(block)?.copy(target);
  const blocks = Array.from({ length: 301 }, (_, block) => block);
  const options = { key, parent: placeOf(before) };
  const after = await publish(store, model.bytes, options, (memory) => memory.writeAll(blocks, read));
  await expectImage((await store.open(workspaceId, after.id)).memory, model);
  // A third of what is new is one block, and a third nothing.
  expect(after.sizes.storedBytes).toBeLessThan(70 * blockBytes);
  const again = { key, parent: placeOf(after) };
  expect((await publish(store, model.bytes, again, (memory) => memory.writeAll(blocks, read))).memory).toEqual(
    after.memory,
  );

  const writer = await store.begin({ ...first, key });
  const memory = writer.memory(model.bytes);
  const cause = new Error("the disk is gone");
  const broken = async (block: number) => {
    if (block === 200) throw cause;
  };
  await expect(memory.writeAll(blocks, broken)).rejects.toBe(cause);
  await expect(memory.writeAll([301], read)).rejects.toThrow("memory has blocks 0 to 300, not 301");
  await writer.abort();
  expect(await packNames(objects)).toHaveLength(
    new Set([before, after].flatMap(({ packs }) => packs.map(({ id }) => id))).size,
  );
});

test("a fork starts from another workspace's snapshot and outlives it", async () => {
  const objects = await newObjects();
  const store = createSnapshotStore({ objects });
  const model = createModel(50 * blockBytes);
  const parent = await publish(store, model.bytes, {}, (memory) => changeRandomly(model, memory, random(41), 60));
  const forkId = createId("ws");
  const options = { workspaceId: forkId, parent: placeOf(parent), reason: "fork" } as const;
  const fork = await publish(store, model.bytes, options, async (memory) => {
    await memory.write(7, Buffer.alloc(blockBytes, 9));
    setBlock(model, 7, Buffer.alloc(blockBytes, 9));
  });
  expect(fork.parent).toMatchObject({ workspaceId, id: parent.id });
  expect(fork.parent?.sha256).toBe((await readManifestText(objects, parent)).slice(11, 75));
  await store.remove(workspaceId, parent.id);
  await expect(store.open(workspaceId, parent.id)).rejects.toThrow(`no snapshot ${parent.id}`);
  await expectImage((await store.open(forkId, fork.id)).memory, model);
});

async function readManifestText(objects: ObjectStore, { workspaceId, id }: SnapshotManifest): Promise<string> {
  return (await objects.get(`snapshots/${workspaceId}/${id}.json`)).toString();
}

test("an image may grow, also past a block that was cut, and not shrink", async () => {
  const store = createSnapshotStore({ objects: await newObjects() });
  const model = createModel(10 * blockBytes + 100);
  const small = await publish(store, model.bytes, {}, (memory) => changeRandomly(model, memory, random(51), 60));
  model.bytes = 700 * blockBytes;
  const large = await publish(store, model.bytes, { parent: placeOf(small) }, async (memory) => {
    await memory.write(600, Buffer.alloc(blockBytes, 6));
    setBlock(model, 600, Buffer.alloc(blockBytes, 6));
  });
  await expectImage((await store.open(workspaceId, large.id)).memory, model);
  const writer = await store.begin({ ...first, parent: placeOf(large) });
  expect(() => writer.memory(blockBytes)).toThrow("an image does not shrink");
  await writer.abort();
});

test("a sparse file is written, the blocks asked for first, and none is left after a failure", async () => {
  const objects = await newObjects();
  const store = createSnapshotStore({ objects, packBytes: 2_000_000 });
  const model = createModel(900 * blockBytes - 77);
  const manifest = await publish(store, model.bytes, {}, (memory) => changeRandomly(model, memory, random(61), 120));
  const { memory } = await store.open(workspaceId, manifest.id);
  const path = join(folder, "materialised");
  const progress: number[] = [];
  const some = [...model.blocks.keys()].slice(40, 50);
  await memory?.materialise(path, { first: some, onProgress: ({ doneBytes }) => progress.push(doneBytes) });
  const content = await readFile(path);
  const expected = Buffer.alloc(model.bytes);
  for (const [block, bytes] of model.blocks) bytes.copy(expected, block * blockBytes);
  expect(content.equals(expected)).toBe(true);
  expect((await stat(path)).blocks * 512).toBeLessThan(model.blocks.size * blockBytes + 100_000);
  expect(progress.at(-1)).toBe(model.bytes);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  expect(await memory?.storedBlocks()).toEqual([...model.blocks.keys()].sort((a, b) => a - b));
  const asked = [899, 3, ...some, 5];
  const read = new Map<number, Buffer>();
  await memory?.readBlocks(asked, (block, content) => void read.set(block, Buffer.from(content)));
  expect([...read.keys()].sort()).toEqual([...new Set(asked)].sort());
  for (const [block, content] of read) {
    expect(content.equals(model.blocks.get(block) ?? Buffer.alloc(blockBytes))).toBe(true);
  }
  await expect(memory?.materialise(path)).rejects.toMatchObject({ code: "already_exists" });
  expect((await readFile(path)).equals(expected)).toBe(true);

  const other = join(folder, "broken");
  await expect(memory?.materialise(other, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "cancelled",
  });
  await objects.remove((await packNames(objects)).slice(0, 1));
  const again = await store.open(workspaceId, manifest.id);
  const missing = await again.memory?.materialise(other).catch((error) => error);
  expect(missing).toMatchObject({ code: "data_loss" });
  expect(missing.message).toMatch(/pack [0-9a-f]{32}, which snapshot snapshot-\w+ of ws-\w+ needs, is missing in/);
  expect((await readdir(folder)).includes("broken")).toBe(false);
});

test("an older generation is refused, at the beginning and at the end, and never becomes the newest", async () => {
  const clock = manualClock(1_000_000);
  const store = createSnapshotStore({ objects: await newObjects(), clock });
  const late = await store.begin({ ...first, generation: 4 });
  await late.memory(blockBytes).write(0, Buffer.alloc(blockBytes, 4));
  const newest = await publish(store, blockBytes, { generation: 5 }, (memory) =>
    memory.write(0, Buffer.alloc(blockBytes, 5)),
  );
  const error = await late.publish().catch((caught) => caught);
  expect(error).toMatchObject({ code: "aborted" });
  expect(error.message).toContain(
    `generation 4 of workspace ${workspaceId} may not publish: ${newest.id} is of generation 5`,
  );
  await expect(store.begin({ ...first, generation: 4 })).rejects.toMatchObject({ code: "aborted" });
  expect((await store.latest(workspaceId))?.id).toBe(newest.id);
  // A generation that starts with its clock behind is still the newer one.
  await clock.advance(0);
  const behind = createSnapshotStore({ objects: await newObjects(), clock: manualClock(5) });
  const a = await publish(behind, blockBytes, { generation: 6 }, async () => {});
  const b = await publish(behind, blockBytes, { generation: 6 }, async () => {});
  expect(b.createdMs).toBe(a.createdMs + 1);
  expect((await behind.latest(workspaceId))?.id).toBe(b.id);
  expect((await behind.list(workspaceId)).snapshots.map(({ id }) => id)).toEqual([a.id, b.id]);
});

test("giving up, by abort, disposal or signal, leaves nothing in the store", async () => {
  const objects = await newObjects();
  const store = createSnapshotStore({ objects, packBytes: 500_000 });
  const next = random(71);
  const fill = async (memory: ImageWriter, blocks: number) => {
    for (let block = 0; block < blocks; block++) await memory.write(block, randomBytes(next, blockBytes));
  };
  const aborted = await store.begin(first);
  await fill(aborted.memory(100 * blockBytes), 30);
  await aborted.abort();
  await expect(aborted.publish()).rejects.toThrow("is aborted");
  {
    await using disposed = await store.begin(first);
    await fill(disposed.memory(100 * blockBytes), 30);
  }
  const controller = new AbortController();
  const cancelled = await store.begin({ ...first, signal: controller.signal });
  const memory = cancelled.memory(100 * blockBytes);
  await fill(memory, 20);
  controller.abort();
  await expect(memory.write(1, Buffer.alloc(blockBytes, 1))).rejects.toThrow();
  await expect(cancelled.publish()).rejects.toThrow();
  await cancelled.abort();
  const keys: string[] = [];
  for await (const { key } of objects.list("")) keys.push(key);
  expect(keys).toEqual([]);
});

test("an upload limit is kept, by the clock", async () => {
  // Whoever sleeps on this clock moves it.
  let nowMs = 0;
  const clock = {
    nowMs: () => nowMs,
    async sleep(durationMs: number) {
      nowMs += durationMs;
    },
  };
  const store = createSnapshotStore({ objects: await newObjects(), clock, uploadBytesPerSecond: 100_000 });
  const { sizes } = await publish(store, 100 * blockBytes, {}, async (memory) => {
    for (let block = 0; block < 10; block++) await memory.write(block, randomBytes(random(block), blockBytes));
  });
  // What comes last need not wait for itself to have passed.
  expect(nowMs).toBeGreaterThan(((sizes.storedBytes - 2 * blockBytes) / 100_000) * 1000);
  expect(nowMs).toBeLessThan((sizes.storedBytes / 100_000) * 1000);
});

test("keys: without the right one nothing is read, and the message names it", async () => {
  const objects = await newObjects();
  const [right, wrong] = [systemBytes(32), systemBytes(32)];
  const keys = new Map<string, StorageKey>([["org-1", { id: "org-1", bytes: right }]]);
  const store = createSnapshotStore({ objects, findKey: (id) => keys.get(id) });
  const secret = Buffer.alloc(blockBytes, "a secret that must not be seen ");
  const key = { id: "org-1", bytes: right };
  const manifest = await publish(store, 10 * blockBytes, { key }, async (memory) => {
    await memory.write(3, secret);
    await memory.write(4, randomBytes(random(1), blockBytes));
  });
  expect((await (await store.open(workspaceId, manifest.id)).memory?.readBlock(3))?.equals(secret)).toBe(true);
  for (const name of await packNames(objects)) expect((await objects.get(name)).includes("a secret")).toBe(false);

  const openWith = (found: StorageKey | undefined) =>
    createSnapshotStore({ objects, findKey: () => found }).open(workspaceId, manifest.id);
  await expect(openWith(undefined)).rejects.toMatchObject({
    code: "failed_precondition",
    message: expect.stringContaining("is sealed with key org-1, which is not here"),
  });
  await expect(openWith({ id: "org-1", bytes: wrong })).rejects.toMatchObject({
    code: "failed_precondition",
    message: expect.stringMatching(
      /sealed with key org-1 of fingerprint [0-9a-f]{16}; the key org-1 here has fingerprint/,
    ),
  });
  await expect(openWith({ id: "org-1", bytes: wrong.subarray(1) })).rejects.toThrow(
    "with 31 bytes: it must have 32 bytes",
  );
  // A child without a key would show in the open what the parent hides.
  await expect(store.begin({ ...first, parent: placeOf(manifest) })).rejects.toThrow("its child needs a key too");

  // With a new key the child reads the old one's blocks, and emptying a pack seals them anew.
  const second = { id: "org-2", bytes: wrong };
  keys.set("org-2", second);
  const moving = createSnapshotStore({ objects, findKey: (id) => keys.get(id), cleaning: { maxSmallPacks: 0 } });
  const child = await publish(moving, 10 * blockBytes, { key: second, parent: placeOf(manifest) }, async () => {});
  expect(child.keys.map(({ id }) => id)).toEqual(["org-2"]);
  keys.delete("org-1");
  expect((await (await store.open(workspaceId, child.id)).memory?.readBlock(3))?.equals(secret)).toBe(true);
});

test("equal content is equal when stored, within one key", async () => {
  const objects = await newObjects();
  const key = { id: "org", bytes: systemBytes(32) };
  const store = createSnapshotStore({ objects, findKey: () => key });
  const content = randomBytes(random(3), blockBytes, true);
  const a = await publish(store, blockBytes, { key }, (memory) => memory.write(0, content));
  const b = await publish(store, blockBytes, { key, parent: placeOf(a) }, (memory) => memory.write(0, content));
  expect(b.sizes.storedBytes).toBe(0);
});

test("what cannot be is refused by name", async () => {
  const store = createSnapshotStore({ objects: await newObjects() });
  await expect(store.begin({ ...first, workspaceId: "../x" })).rejects.toThrow('"../x" is no workspace id');
  await expect(store.begin({ ...first, generation: -1 })).rejects.toThrow("generation -1");
  await expect(store.open(workspaceId, "nothing")).rejects.toThrow('"nothing" is no snapshot id');
  const writer = await store.begin(first);
  expect(() => writer.memory(-1)).toThrow("memory of -1 bytes");
  expect(() => writer.disk("a/b", 1)).toThrow('disk "a/b"');
  const memory = writer.memory(2 * blockBytes + 5);
  expect(() => writer.memory(1)).toThrow("memory is being written already");
  await expect(memory.write(3, Buffer.alloc(blockBytes))).rejects.toThrow("memory has blocks 0 to 2, not 3");
  await expect(memory.write(0, Buffer.alloc(6))).rejects.toThrow("block 0 of memory with 6 bytes: it must have 65536");
  await expect(memory.write(2, Buffer.alloc(6))).rejects.toThrow("block 2 of memory with 6 bytes: it must have 5");
  await expect(writer.devices(Buffer.alloc(64 * 1024 * 1024 + 1))).rejects.toThrow("67108864 is the limit");
  await writer.publish();
  await expect(writer.publish()).rejects.toThrow("is published");
  expect(() => createSnapshotStore({ objects: writer as never, packBytes: 0 })).toThrow("packBytes 0");
});
