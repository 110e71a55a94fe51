import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import { createFileStore, createSnapshotStore, type SnapshotStore, type SnapshotWriter } from "@dormouse/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TemplateFolder } from "./template-folder.ts";
import { Templates } from "./templates.ts";
import { Timeline } from "./timeline.ts";

const [whole, partless] = ["a".repeat(24), "b".repeat(24)];
const parts = ["kernel", "initramfs", "systemDrive", "baseImage"];
let folder: string;
let cacheDir: string;
let store: SnapshotStore;
let lines: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "templates-"));
  cacheDir = join(folder, "cache");
  store = createSnapshotStore({ objects: await createFileStore({ folder: join(folder, "store") }) });
  lines = [];
  const files: Record<string, string> = {};
  for (const part of parts) {
    const path = join(folder, part);
    await writeFile(path, `the ${part} of another host`.repeat(1000));
    files[part] = (await store.putFile(path)).sha256;
  }
  const resources = { vcpus: 1, memoryMib: 1024, diskGib: 16 };
  await storeTemplate(whole, { name: "base", resources, createdMs: 5, artifactsHash: "built", files });
  await storeTemplate(partless, {});
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

async function storeTemplate(hash: string, facts: Parameters<SnapshotWriter["facts"]>[0]): Promise<void> {
  const place = { workspaceId: `template-${hash}`, generation: 0, parent: null, name: "base" };
  await using writer = await store.begin({ ...place, reason: "manual", compatibility: { vmm: "qemu" } });
  await writer.devices(Buffer.from("devices"));
  writer.facts(facts);
  await writer.publish();
}

function open(needed: string[] = []): Promise<Templates> {
  const log = createLogger({ write: (line) => void lines.push(line) });
  const base = { name: "base", hash: "c".repeat(24) } as TemplateFolder;
  return Templates.open({ cacheDir, base, known: [], timeline: new Timeline({ store, log }), log }, needed);
}

test("what another host's template brings is fetched once, and found again by the next daemon", async () => {
  const templates = await open();
  expect(() => templates.get(whole)).toThrow(`this host does not have the template ${whole}`);
  const [template, same] = await Promise.all([templates.ensure(whole), templates.ensure(whole)]);
  expect(same).toBe(template);
  expect(lines.filter((line) => line.includes("template fetched"))).toHaveLength(1);
  expect(await readFile(template.artifacts.baseImage, "utf8")).toBe("the baseImage of another host".repeat(1000));
  expect(template).toMatchObject({ name: "base", hash: whole, createdMs: 5, resources: { diskGib: 16 } });
  expect(await readdir(cacheDir)).toEqual([`fetched-template-${whole}`]);
  expect((await open([whole])).get(whole)).toEqual(template);
});

test("a template that the store does not have whole is named, and leaves nothing behind", async () => {
  const templates = await open();
  for (const hash of [partless, "c".repeat(24)]) {
    const refusal = { code: "not_found", message: expect.stringContaining(hash) };
    await expect(templates.ensure(hash)).rejects.toMatchObject(refusal);
  }
  await expect(templates.ensure("../../etc")).rejects.toMatchObject({ code: "data_loss" });
  expect(await readdir(cacheDir)).toEqual([]);
});
