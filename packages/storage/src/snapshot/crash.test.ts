import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createId } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileStore } from "../file/file-store.ts";
import { blockBytes } from "../format/block-ref.ts";
import type { SnapshotManifest } from "../format/manifest.ts";
import { createFailingIo } from "../testing/failing-io.ts";
import { createFailingStore } from "../testing/failing-store.ts";
import { interruptAndRead } from "../testing/interrupt-writer.ts";
import { changeRandomly, copyModel, createModel, expectImage, type ModelImage } from "../testing/model-image.ts";
import { random, randomBytes } from "../testing/random.ts";
import { createTestFolder } from "../testing/test-folder.ts";
import { createSnapshotStore, type SnapshotStore } from "./snapshot-store.ts";

let testFolder: Awaited<ReturnType<typeof createTestFolder>>;
let folder: string;
beforeAll(async () => {
  testFolder = await createTestFolder("crash");
  folder = testFolder.path;
});
afterAll(() => testFolder[Symbol.asyncDispose]());

const workspaceId = createId("ws");

async function writeSnapshot(
  store: SnapshotStore,
  parent: SnapshotManifest | undefined,
  model: ModelImage,
  seed: number,
): Promise<SnapshotManifest> {
  await using writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent: parent ?? null });
  const next = random(seed);
  await changeRandomly(model, writer.memory(model.bytes), next, 25);
  await writer.devices(randomBytes(next, 1000));
  return writer.publish();
}

test.each(["before", "middle", "after"] as const)(
  "after a failure %s any operation, what was published reads back whole, and nothing half-made is listed",
  async (when) => {
    let failures = 0;
    for (let failAt = 1; ; failAt++) {
      const objects = await createFileStore({ folder: join(folder, `${when}-${failAt}`) });
      const store = createSnapshotStore({ objects, packBytes: 300_000, cleaning: { maxSmallPacks: 2 } });
      const model = createModel(40 * blockBytes);
      const first = await writeSnapshot(store, undefined, model, 1);
      const before = copyModel(model);

      const failing = createFailingStore(objects, failAt, when);
      const broken = createSnapshotStore({ objects: failing, packBytes: 300_000, cleaning: { maxSmallPacks: 2 } });
      const result = await writeSnapshot(broken, first, model, 2).catch((error) => error);
      const { snapshots, damaged } = await store.list(workspaceId);
      expect(damaged).toEqual([]);
      await expectImage((await store.open(workspaceId, first.id)).memory, before);
      for (const { id } of snapshots) await (await store.open(workspaceId, id)).verify();
      if (result instanceof Error) {
        failures++;
        // Whoever was told of a failure finds no snapshot, though the operation may have been done.
        expect(snapshots.map(({ id }) => id)).toEqual([first.id]);
      } else {
        expect(snapshots.map(({ id }) => id)).toEqual([first.id, result.id]);
        await expectImage((await store.open(workspaceId, result.id)).memory, model);
      }
      // Whatever was left, the next snapshot works.
      const model3 = copyModel(before);
      const third = await writeSnapshot(store, first, model3, 3);
      await expectImage((await store.open(workspaceId, third.id)).memory, model3);
      if (!failing.hasFailed && failing.operations < failAt) break;
    }
    expect(failures).toBeGreaterThan(when === "middle" ? 3 : 12);
  },
);

test("a full disk: resource_exhausted, the last snapshot reads back, and with room the next one works", async ({
  skip,
}) => {
  if (process.getuid?.() !== 0) skip("mounting a tmpfs needs root");
  const mount = join(folder, "full");
  await mkdir(mount);
  await run("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", mount]);
  try {
    const objects = await createFileStore({ folder: join(mount, "store") });
    const store = createSnapshotStore({ objects });
    const model = createModel(100 * blockBytes);
    const first = await writeSnapshot(store, undefined, model, 1);
    const fill = async () => {
      await using writer = await store.begin({ workspaceId, generation: 1, reason: "periodic", parent: first });
      const memory = writer.memory(model.bytes);
      for (let block = 0; block < 100; block++) await memory.write(block, randomBytes(random(block), blockBytes));
      return writer.publish();
    };
    await expect(fill()).rejects.toMatchObject({ code: "resource_exhausted" });
    await expectImage((await store.open(workspaceId, first.id)).memory, model);
    expect((await store.list(workspaceId)).snapshots).toHaveLength(1);
    expect(await readdir(join(mount, "store/.tmp"))).toEqual([]);
    const second = await writeSnapshot(store, first, model, 2);
    await expectImage((await store.open(workspaceId, second.id)).memory, model);
  } finally {
    await run("umount", [mount]);
  }
});

const seed = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);
test(`a writer that is killed, or whose disk fails, at 8 moments leaves whole snapshots only (SEED=${seed})`, async () => {
  await using io = await createFailingIo();
  const root = join(folder, "killed");
  const objects = await createFileStore({ folder: root, leftoverMs: 0 });
  let snapshots = 0;
  for (let round = 0; round < 8; round++) {
    ({ snapshots } = await interruptAndRead({ objects, folder: root, workspaceId, seed: seed + round, io }));
    // Not to read ever more.
    const store = createSnapshotStore({ objects });
    const { snapshots: all } = await store.list(workspaceId);
    for (const { id } of all.slice(0, -2)) await store.remove(workspaceId, id);
  }
  expect(snapshots).toBeGreaterThan(0);
  // The next store that is opened cleans what those had begun.
  await createFileStore({ folder: root, leftoverMs: -1 });
  expect(await readdir(join(root, ".tmp"))).toEqual([]);
});
