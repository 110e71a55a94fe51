import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import { createFileStore, createSnapshotStore, type SnapshotStore } from "@dormouse/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readTemplate, type TemplateFolder, writeTemplateFile } from "./template-folder.ts";
import { Templates } from "./templates.ts";
import { Timeline } from "./timeline.ts";
import { removeUnused } from "./unused.ts";

const dayMs = 24 * 3_600_000;
const hash = (letter: string) => letter.repeat(24);
const log = createLogger({ write: () => {} });
let folder: string;
let cacheDir: string;
let store: SnapshotStore;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "unused-"));
  cacheDir = join(folder, "cache");
  await mkdir(cacheDir);
  store = createSnapshotStore({ objects: await createFileStore({ folder: join(folder, "store") }) });
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

const old = (path: string) => utimes(path, new Date(0), new Date(0));

/** An image as it lies in the cache, last used long ago. */
async function makeImage(letter: string, kind = "image"): Promise<string> {
  const path = join(cacheDir, `${kind}-${hash(letter)}`);
  await mkdir(path);
  await writeFile(join(path, "image.erofs"), `the image ${letter}`);
  await old(path);
  return path;
}

/** A template of an image, last used long ago. */
async function makeTemplate(letter: string, { kind = "image", image = letter } = {}): Promise<TemplateFolder> {
  const path = join(
    cacheDir,
    kind === "fetched" ? `fetched-template-${hash(letter)}` : `template-${kind}-${hash(letter)}`,
  );
  await mkdir(path);
  await writeFile(join(path, "disk.ext4"), "a drive");
  const artifacts = {
    ...{ kernel: join(cacheDir, `kernel-${hash("0")}`, "kernel"), initramfs: "", systemDrive: "", blankDisk: "" },
    ...{ baseImage: join(cacheDir, `image-${hash(image)}`, "image.erofs"), hash: hash(letter) },
  };
  const name = kind === "base" ? "base" : `image-${hash(letter)}`;
  const resources = { vcpus: 1, memoryMib: 1024, diskGib: 16 };
  const file = { version: 1 as const, name, hash: hash(letter), createdMs: 1, resources, bootToken: "t", artifacts };
  await writeTemplateFile(path, file);
  await old(path);
  return await readTemplate(path);
}

/** A machine's record in a platform's data folder, as far as it is looked at. */
async function makeMachine(dataDir: string, id: string, templateHash: string) {
  await mkdir(join(dataDir, "machines", id), { recursive: true });
  await writeFile(join(dataDir, "machines", id, "machine.json"), JSON.stringify({ templateHash }));
}

async function storeSnapshot(workspaceId: string, facts: Record<string, string>) {
  const place = { workspaceId, generation: 1, parent: null, name: null };
  await using writer = await store.begin({ ...place, reason: "manual", compatibility: { vmm: "qemu" } });
  await writer.devices(Buffer.from("devices"));
  writer.facts(facts);
  await writer.publish();
}

/** A platform with a data folder of its own and templates that it knows. */
async function platform(known: TemplateFolder[], dataDir = join(folder, "data")) {
  await mkdir(dataDir, { recursive: true });
  const [base] = known;
  if (!base) throw new Error("a platform has a base template");
  const timeline = new Timeline({ store, log });
  const templates = await Templates.open({ cacheDir, base, known, timeline, log }, []);
  return { cacheDir, dataDir, templates, timeline, unusedForMs: 30 * dayMs, log };
}

const left = async () =>
  (await readdir(cacheDir)).filter((name) => !name.endsWith(".lock") && name !== "needs").toSorted();

test("what nobody used for long goes; what a machine, a snapshot or another platform needs stays, however old", async () => {
  for (const letter of ["a", "b", "c", "d", "e", "f"]) await makeImage(letter);
  await makeImage("1", "feature");
  const base = await makeTemplate("a", { kind: "base" });
  const ofMachine = await makeTemplate("b");
  const ofSnapshot = await makeTemplate("c");
  const unused = await makeTemplate("d");
  const ofOther = await makeTemplate("e");
  const stale = await makeTemplate("9", { kind: "fetched", image: "9" });
  await storeSnapshot("ws-one", { tokenSalt: "s", templateHash: ofSnapshot.hash });
  await storeSnapshot(`template-${unused.hash}`, {});
  const [own, other] = [join(folder, "data"), join(folder, "other")];
  await makeMachine(own, "m-1", ofMachine.hash);

  // The other one writes down what it needs, and makes another machine afterwards.
  const late = await makeTemplate("f");
  await makeMachine(other, "m-2", ofOther.hash);
  const all = [base, ofMachine, ofSnapshot, unused, ofOther, late];
  await removeUnused({ ...(await platform([base, ofOther], other)), unusedForMs: 365 * 100 * dayMs });
  await makeMachine(other, "m-3", late.hash);

  const options = await platform(all);
  const removed = await removeUnused(options);
  expect(removed.toSorted()).toEqual(
    [`feature-${hash("1")}`, `fetched-template-${stale.hash}`, `image-${hash("d")}`, `template-image-${hash("d")}`].map(
      (name) => join(cacheDir, name),
    ),
  );
  expect(await left()).toEqual([
    ...["a", "b", "c", "e", "f"].map((letter) => `image-${hash(letter)}`),
    `template-base-${hash("a")}`,
    ...["b", "c", "e", "f"].map((letter) => `template-image-${hash(letter)}`),
  ]);
  expect(() => options.templates.named(unused.name)).toThrow(/has no template/);
  expect(options.templates.named(ofMachine.name)).toEqual(ofMachine);
  // Its own snapshot went with it, the workspace's did not.
  expect((await store.list(`template-${unused.hash}`)).snapshots).toEqual([]);
  expect((await store.list("ws-one")).snapshots).toHaveLength(1);

  // A platform whose data folder is gone needs nothing any more.
  await rm(other, { recursive: true });
  expect((await removeUnused(options)).toSorted()).toEqual(
    ["image", "template-image"].flatMap((kind) =>
      ["e", "f"].map((letter) => join(cacheDir, `${kind}-${hash(letter)}`)),
    ),
  );
  expect(await readdir(join(cacheDir, "needs"))).toHaveLength(1);
});

test("what was just used is nobody's to remove: a machine may be about to be made of it", async () => {
  await makeImage("a");
  await makeImage("b");
  const [base, image] = [await makeTemplate("a", { kind: "base" }), await makeTemplate("b")];
  const options = await platform([base, image]);
  expect(options.templates.named(image.name)).toEqual(image);
  expect(await removeUnused(options)).toEqual([]);
  // Also by the next daemon: the folder's own time says it.
  expect(await removeUnused(await platform([base, image]))).toEqual([]);
});

test("when it cannot be told what is needed, nothing is removed", async () => {
  await makeImage("a");
  await makeImage("b");
  const [base, image] = [await makeTemplate("a", { kind: "base" }), await makeTemplate("b")];
  const options = await platform([base, image]);
  await mkdir(join(options.dataDir, "machines/m-1"), { recursive: true });
  await writeFile(join(options.dataDir, "machines/m-1/machine.json"), "{");
  await expect(removeUnused(options)).rejects.toThrow(/JSON/);
  expect(await left()).toHaveLength(4);
});
