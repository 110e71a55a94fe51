import { readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { sha256Of } from "../format/block-codec.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createSnapshotStore } from "./snapshot-store.ts";

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
let folder: string;
beforeAll(async () => {
  testFolder = await createTestFolder("files");
  folder = testFolder.path;
});
afterAll(() => testFolder[Symbol.asyncDispose]());

test.each([0, 1, 65_536, 65_537, 3_000_001])(
  "a file of %i bytes comes back under the hash of its content",
  async (bytes) => {
    const objects = await createFileStore({ folder: join(folder, `store-${bytes}`) });
    const store = createSnapshotStore({ objects });
    const [source, target] = [join(folder, `source-${bytes}`), join(folder, `target-${bytes}`)];
    const content = randomBytes(random(bytes), bytes);
    await writeFile(source, content);
    const facts = await store.putFile(source);
    expect(facts).toEqual({ sha256: sha256Of(content), bytes });
    await writeFile(target, "what was there before");
    await store.getFile(facts.sha256, target);
    expect((await readFile(target)).equals(content)).toBe(true);
    // The same content is not stored a second time.
    const keys = async () => {
      const found: string[] = [];
      for await (const { key } of objects.list("")) found.push(key);
      return found;
    };
    const before = await keys();
    await store.putFile(target);
    expect(await keys()).toEqual(before);
  },
);

test("holes stay holes, sealed files need their key, and a missing one is not_found", async () => {
  const objects = await createFileStore({ folder: join(folder, "sealed") });
  const key = { id: "org", bytes: Buffer.alloc(32, 1) };
  const store = createSnapshotStore({ objects, findKey: () => key });
  const [source, target] = [join(folder, "sparse"), join(folder, "sparse-copy")];
  await writeFile(source, "beginning");
  await truncate(source, 200_000_000);
  const { sha256 } = await store.putFile(source, { key });
  await store.getFile(sha256, target);
  expect((await stat(target)).size).toBe(200_000_000);
  expect((await stat(target)).blocks * 512).toBeLessThan(200_000);
  await expect(createSnapshotStore({ objects }).getFile(sha256, target)).rejects.toThrow("is sealed with key org");
  await expect(store.getFile("0".repeat(64), target)).rejects.toMatchObject({ code: "not_found" });
  await expect(store.getFile("x", target)).rejects.toThrow('"x" is no SHA-256');
  await expect(store.putFile(join(folder, "nothing"))).rejects.toMatchObject({ code: "not_found" });
});

test("a file's packs are kept by the collector, and nothing half-fetched stays", async () => {
  const objects = await createFileStore({ folder: join(folder, "collected") });
  const clock = { nowMs: () => Date.now() + 9 * 3_600_000, sleep: async () => {} };
  const store = createSnapshotStore({ objects, clock });
  const [source, target] = [join(folder, "kernel"), join(folder, "fetched")];
  await writeFile(source, randomBytes(random(1), 1_000_000));
  const { sha256 } = await store.putFile(source);
  expect((await store.collectGarbage()).packs).toBe(0);
  for await (const { key } of objects.list("packs/")) await objects.remove([key]);
  await expect(store.getFile(sha256, target)).rejects.toMatchObject({ code: "data_loss" });
  await expect(store.getFile(sha256, target, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "cancelled",
  });
  expect((await readdir(folder)).filter((name) => name.startsWith("fetched"))).toEqual([]);
});
