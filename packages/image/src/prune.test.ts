import { mkdir, mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Artifacts } from "./artifacts.ts";
import { cached } from "./cache.ts";
import { pruneArtifacts } from "./prune.ts";

let cacheDir: string;
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "dormouse-prune-"));
});
afterEach(() => rm(cacheDir, { recursive: true }));

const hash = (digit: string) => digit.repeat(24);
const dayMs = 24 * 60 * 60 * 1000;

async function makeOld(name: string): Promise<string> {
  const folder = join(cacheDir, name);
  await mkdir(folder, { recursive: true });
  await utimes(folder, new Date(0), new Date(0));
  return folder;
}

test("what is old, ours and not kept goes; nothing else does", async () => {
  const doomed = await makeOld(`base-image-${hash("a")}`);
  const kept = await makeOld(`base-image-${hash("b")}`);
  await makeOld("template-base-1234");
  await makeOld("hashes");
  await mkdir(join(cacheDir, `kernel-${hash("c")}`));
  const keep = [{ baseImage: join(kept, "base.erofs") } as Artifacts];
  expect(await pruneArtifacts({ keep, unusedForMs: dayMs }, { cacheDir })).toEqual([doomed]);
  expect((await readdir(cacheDir)).filter((name) => !name.endsWith(".lock")).sort()).toEqual([
    `base-image-${hash("b")}`,
    "hashes",
    `kernel-${hash("c")}`,
    "template-base-1234",
  ]);
});

test("being asked for makes an artefact young again", async () => {
  await makeOld(`kernel-${hash("d")}`);
  const build = () => Promise.reject(new Error("it is there already"));
  await cached({ name: "kernel", hash: hash("d"), title: "", build }, { cacheDir });
  expect(await pruneArtifacts({ keep: [], unusedForMs: dayMs }, { cacheDir })).toEqual([]);
});

test("images and features go one by one; what killed pulls left goes, what is being pulled stays", async () => {
  const doomed = await makeOld(`image-${hash("a")}`);
  const kept = await makeOld(`image-${hash("b")}`);
  const feature = await makeOld(`feature-${hash("c")}`);
  await makeOld(`image-${hash("d")}.01234567.building`);
  const { promise, resolve } = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const build = async () => {
    started.resolve();
    await promise;
  };
  const pulling = { name: "image", hash: hash("e"), title: "", build, sideBySide: { timeoutMs: 10_000 } };
  const building = cached(pulling, { cacheDir });
  await started.promise;
  const keep = [{ hash: hash("b"), path: join(kept, "image.erofs"), config: {} }];
  expect(await pruneArtifacts({ keep, unusedForMs: dayMs }, { cacheDir })).toEqual([doomed, feature]);
  resolve();
  await building;
  const left = (await readdir(cacheDir)).filter((name) => !name.endsWith(".lock")).sort();
  expect(left).toEqual([`image-${hash("b")}`, `image-${hash("e")}`]);
});
