import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import type { ObjectStore } from "../object-store.ts";
import { createFailingStore } from "../testing/failing-store.ts";
import { objectStoreSuite } from "../testing/object-store-suite.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createCachedStore } from "./cached-store.ts";

objectStoreSuite("a cache before a folder", async () => {
  const folder = await createTestFolder("cached");
  const objects = await createFileStore({ folder: join(folder.path, "store") });
  // Nothing of the suite is immutable, so that only what is passed on is tried here.
  return {
    objects: await createCachedStore({ objects, folder: join(folder.path, "cache"), maxBytes: 10_000_000 }),
    isConditionalPutAtomic: true,
    [Symbol.asyncDispose]: folder[Symbol.asyncDispose],
  };
});

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
beforeAll(async () => {
  testFolder = await createTestFolder("cache");
});
afterAll(() => testFolder[Symbol.asyncDispose]());

const content = randomBytes(random(1), 5_300_000);

/** A store that counts what it is asked, with a pack in it, and the folder of a cache. */
async function prepare(name: string): Promise<{ inner: ObjectStore & { operations: number }; folder: string }> {
  const files = await createFileStore({ folder: join(testFolder.path, name, "store") });
  await files.put("packs/a", content);
  return { inner: createFailingStore(files, 0, "before"), folder: join(testFolder.path, name, "cache") };
}

test("random ranges are what they are, and what was read once is not fetched again", async () => {
  const { inner, folder } = await prepare("ranges");
  const cached = await createCachedStore({ objects: inner, folder, maxBytes: 100_000_000 });
  const next = random(2);
  for (let attempt = 0; attempt < 200; attempt++) {
    const offset = Math.floor(next() * content.length * 1.05);
    const length = 1 + Math.floor(next() * next() * 3_000_000);
    const found = await cached.get("packs/a", { offset, length });
    if (!found.equals(content.subarray(offset, offset + length))) expect.fail(`${length} bytes at ${offset}`);
  }
  const { operations } = inner;
  for (let offset = 0; offset < content.length; offset += 100_000) await cached.get("packs/a", { offset, length: 100 });
  expect(inner.operations).toBe(operations);
  // Also not by the next process.
  const later = await createCachedStore({ objects: inner, folder, maxBytes: 100_000_000 });
  expect((await later.get("packs/a", { offset: 77, length: 2_000_000 })).equals(content.subarray(77, 2_000_077))).toBe(
    true,
  );
  expect(inner.operations).toBe(operations);
});

test("what is written is local at once, and gone when it is removed or was not written to its end", async () => {
  const { inner, folder } = await prepare("written");
  const cached = await createCachedStore({ objects: inner, folder, maxBytes: 100_000_000 });
  const pieces = async function* (end: number) {
    for (let start = 0; start < end; start += 70_001) yield content.subarray(start, Math.min(end, start + 70_001));
    if (end < content.length) throw new Error("the source broke");
  };
  await cached.put("packs/b", pieces(content.length));
  const { operations } = inner;
  expect((await cached.get("packs/b", { offset: 0, length: content.length })).equals(content)).toBe(true);
  expect(inner.operations).toBe(operations);
  await cached.remove(["packs/b"]);
  await expect(cached.get("packs/b", { offset: 0, length: 10 })).rejects.toMatchObject({ code: "not_found" });
  await expect(cached.put("packs/c", pieces(3_000_000))).rejects.toThrow("the source broke");
  await expect(cached.get("packs/c", { offset: 0, length: 10 })).rejects.toMatchObject({ code: "not_found" });
  expect(await readdir(folder)).toEqual([]);
});

test("the limit is kept, and the least recently used goes first", async () => {
  const { inner, folder } = await prepare("limit");
  const cached = await createCachedStore({ objects: inner, folder, maxBytes: 3_500_000 });
  const read = (segment: number) => cached.get("packs/a", { offset: segment * 1024 * 1024, length: 10 });
  for (const segment of [0, 1, 2, 0, 3]) await read(segment);
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(3_500_000);
  const { operations } = inner;
  await read(0);
  await read(3);
  expect(inner.operations).toBe(operations);
  await read(1);
  expect(inner.operations).toBe(operations + 1);
});

test("a damaged file of the cache is not believed: the part is fetched again", async () => {
  const { inner, folder } = await prepare("damaged");
  const cached = await createCachedStore({ objects: inner, folder, maxBytes: 100_000_000 });
  await cached.get("packs/a", { offset: 0, length: 10 });
  const [name = ""] = await readdir(folder);
  const bytes = await readFile(join(folder, name));
  const next = random(3);
  for (let attempt = 0; attempt < 20; attempt++) {
    const damaged = Buffer.from(bytes);
    const at = attempt < 5 ? attempt : Math.floor(next() * bytes.length);
    damaged[at] = (damaged[at] ?? 0) ^ 4;
    await writeFile(join(folder, name), attempt % 4 === 3 ? bytes.subarray(0, at) : damaged);
    expect((await cached.get("packs/a", { offset: 5, length: 1000 })).equals(content.subarray(5, 1005))).toBe(true);
  }
  expect(inner.operations).toBe(21);
});
