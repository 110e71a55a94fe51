import { createId } from "@dormouse/base";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { blockBytes } from "../format/block-ref.ts";
import type { SnapshotManifest } from "../format/manifest.ts";
import type { ObjectStore } from "../object-store.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { snapshotKey } from "./catalog.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot-store.ts";

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
beforeAll(async () => {
  testFolder = await createTestFolder("garbage");
});
afterAll(() => testFolder[Symbol.asyncDispose]());

const workspaceId = createId("ws");
const hourMs = 3_600_000;

/** A store whose clock is the test's. Objects are as old as they are: the clock goes ahead of them. */
async function prepare() {
  const objects = await createFileStore({ folder: `${testFolder.path}/${createId("store")}` });
  let aheadMs = 0;
  const clock = { nowMs: () => Date.now() + aheadMs, sleep: async () => {} };
  const wait = (durationMs: number) => {
    aheadMs += durationMs;
  };
  return { objects, store: createSnapshotStore({ objects, clock, packBytes: 400_000 }), wait };
}

async function publish(store: SnapshotStore, seed: number, parent: SnapshotManifest | null, blocks = 10) {
  const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent });
  const memory = writer.memory(100 * blockBytes);
  for (let block = 0; block < blocks; block++) {
    await memory.write(block, randomBytes(random(seed * 1000 + block), blockBytes));
  }
  return writer.publish();
}

async function keysBelow(objects: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list(prefix)) keys.push(key);
  return keys;
}

test("packs that no manifest lists go when they are old enough, and no others", async () => {
  const { objects, store, wait } = await prepare();
  const first = await publish(store, 1, null);
  const second = await publish(store, 2, first);
  await objects.put("packs/left-by-a-crash", Buffer.alloc(1000));
  expect(await store.collectGarbage()).toEqual({ packs: 0, bytes: 0, removedManifests: 0 });
  wait(2.1 * hourMs);
  expect(await store.collectGarbage()).toEqual({ packs: 1, bytes: 1000, removedManifests: 0 });

  await store.remove(workspaceId, first.id);
  await store.remove(workspaceId, first.id);
  // Removed, but its packs are held for the grace, in case somebody builds on it right now.
  expect((await store.collectGarbage({ nowMs: Date.now() })).packs).toBe(0);
  const facts = await store.collectGarbage();
  const needed = new Set(second.packs.map(({ id }) => id));
  const dead = first.packs.filter(({ id }) => !needed.has(id));
  expect(dead.length).toBeGreaterThan(0);
  expect(facts).toMatchObject({ packs: dead.length, removedManifests: 1 });
  await (await store.open(workspaceId, second.id)).verify();
  await store.remove(workspaceId, second.id);
  wait(2.1 * hourMs);
  await store.collectGarbage();
  expect(await keysBelow(objects, "")).toEqual([]);
});

test("a writer whose parent is removed, and collected around it, still publishes a whole snapshot", async () => {
  const { store, wait } = await prepare();
  const parent = await publish(store, 1, null);
  wait(5 * hourMs);
  const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent });
  await writer.memory(100 * blockBytes).write(50, Buffer.alloc(blockBytes, 1));
  await store.remove(workspaceId, parent.id);
  // Objects of this moment are 5 h old by the store's clock; the collector is asked by theirs.
  await store.collectGarbage({ nowMs: Date.now() });
  wait(0.5 * hourMs);
  await store.collectGarbage({ nowMs: Date.now() + 0.5 * hourMs });
  const child = await writer.publish();
  await (await store.open(workspaceId, child.id)).verify();
});

test("a writer that took too long is refused, so that its packs were never in danger", async () => {
  const { objects, store, wait } = await prepare();
  const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent: null });
  await writer.memory(100 * blockBytes).write(50, randomBytes(random(1), blockBytes));
  wait(1.1 * hourMs);
  await expect(writer.publish()).rejects.toMatchObject({ code: "deadline_exceeded" });
  expect(await keysBelow(objects, "")).toEqual([]);
});

test("publishing is refused when a pack is gone, and leaves nothing", async () => {
  const { objects, store } = await prepare();
  const parent = await publish(store, 1, null);
  const writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent });
  await writer.memory(100 * blockBytes).write(50, randomBytes(random(1), blockBytes));
  const lost = parent.packs[0]?.id ?? "";
  await objects.remove([`packs/${lost}`]);
  const error = await writer.publish().catch((caught) => caught);
  expect(error).toMatchObject({ code: "aborted" });
  expect(error.message).toContain(`pack ${lost}, which the new snapshot needs, is gone in ${objects.name}`);
  expect((await store.list(workspaceId)).snapshots).toHaveLength(1);
  expect(await keysBelow(objects, "packs/")).toHaveLength(parent.packs.length - 1);
});

test("while a manifest cannot be read, nothing is removed", async () => {
  const { objects, store, wait } = await prepare();
  const manifest = await publish(store, 1, null);
  await objects.put(snapshotKey(workspaceId, manifest.id), Buffer.from("{}"));
  wait(9 * hourMs);
  const before = await keysBelow(objects, "");
  await expect(store.collectGarbage()).rejects.toMatchObject({ code: "data_loss" });
  expect(await keysBelow(objects, "")).toEqual(before);
  await expect(store.latest(workspaceId)).rejects.toMatchObject({ code: "data_loss" });
  // Removing it is the way out, and it takes its packs along after the grace.
  await store.remove(workspaceId, manifest.id);
  await store.collectGarbage();
  expect(await keysBelow(objects, "")).toEqual([]);
});

test("a grace that would not be safe is refused", async () => {
  const { store } = await prepare();
  await expect(store.collectGarbage({ graceMs: hourMs })).rejects.toThrow("graceMs 3600000 must be at least 7200000");
});

test("collecting all the time beside writers and removals loses nothing", async () => {
  const objects = await createFileStore({ folder: `${testFolder.path}/beside` });
  // Time runs a thousand times as fast, so that the grace passes many times.
  const startMs = Date.now();
  const clock = { nowMs: () => startMs + (Date.now() - startMs) * 1000, sleep: async () => {} };
  const store = createSnapshotStore({ objects, clock, packBytes: 400_000, maxWriteMs: 10_000_000 });
  let isWriting = true;
  const collect = async () => {
    let runs = 0;
    for (; isWriting; runs++) await store.collectGarbage();
    return runs;
  };
  const write = async (writer: number) => {
    const id = createId("ws");
    let parent: SnapshotManifest | null = null;
    for (let round = 0; round < 15; round++) {
      const snapshot = await store.begin({ workspaceId: id, generation: 1, reason: "periodic", parent });
      const memory = snapshot.memory(40 * blockBytes);
      for (let block = 0; block < 6; block++) {
        await memory.write(
          (round * 5 + block) % 40,
          randomBytes(random(writer * 10_000 + round * 10 + block), blockBytes),
        );
      }
      const published: SnapshotManifest = await snapshot.publish();
      if (parent) await store.remove(id, parent.id);
      parent = published;
      await (await store.open(id, published.id)).verify();
    }
  };
  const collecting = collect();
  await Promise.all([write(1), write(2), write(3)]).finally(() => {
    isWriting = false;
  });
  expect(await collecting).toBeGreaterThan(5);
});

test("usage counts each pack of a workspace once", async () => {
  const { store } = await prepare();
  expect(await store.usage(workspaceId)).toEqual({ snapshots: 0, packs: 0, storedBytes: 0 });
  const first = await publish(store, 1, null);
  const second = await publish(store, 2, first, 3);
  const { snapshots, packs, storedBytes } = await store.usage(workspaceId);
  expect(snapshots).toBe(2);
  expect(packs).toBe(new Set([...first.packs, ...second.packs].map(({ id }) => id)).size);
  expect(storedBytes).toBe(first.sizes.storedBytes + second.sizes.storedBytes);
});
