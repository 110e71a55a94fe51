import type { FileEntry } from "@dormouse/contract";
import { expect, test } from "vitest";
import { type RememberedFile, RememberedFiles, type RememberedStore } from "./remembered-files.ts";

function memoryStore(files: [string, RememberedFile][] = []) {
  return {
    files,
    async load() {
      return this.files;
    },
    async save(saved: [string, RememberedFile][]) {
      this.files = saved;
    },
  };
}

const entryOf = (path: string, facts: Partial<FileEntry> = {}): FileEntry => ({
  path,
  name: path.slice(path.lastIndexOf("/") + 1),
  type: "file",
  size: 3,
  modifiedMs: 1,
  createdMs: 1,
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  etag: "1",
  ...facts,
});
const content = new TextEncoder().encode("abc");

test("the next page knows what this one saw", async () => {
  const store = memoryStore();
  const first = await RememberedFiles.open(store);
  first.note("/w/a", { entry: entryOf("/w/a"), content });
  first.note("/w", { children: [entryOf("/w/a")] });
  first.note("/w/.vscode/settings.json", { entry: null });
  await first.flush();
  const second = await RememberedFiles.open(store);
  expect(second.get("/w/a")).toEqual({ entry: entryOf("/w/a"), content });
  expect(second.get("/w")).toEqual({ children: [entryOf("/w/a")] });
  expect(second.get("/w/.vscode/settings.json")).toEqual({ entry: null });
});

test("content goes with the entry it belongs to", async () => {
  const files = await RememberedFiles.open(memoryStore());
  files.note("/w/a", { entry: entryOf("/w/a"), content });
  files.note("/w/a", { entry: entryOf("/w/a", { etag: "2" }) });
  expect(files.get("/w/a")?.content).toEqual(content);
  files.note("/w/a", { entry: entryOf("/w/a", { modifiedMs: 2 }) });
  expect(files.get("/w/a")).toEqual({ entry: entryOf("/w/a", { modifiedMs: 2 }) });
  files.note("/w/a", { entry: null });
  expect(files.get("/w/a")).toEqual({ entry: null });
});

test("what is too large is not kept, and what was seen longest ago goes first", async () => {
  const files = await RememberedFiles.open(memoryStore());
  files.note("/w/large", { entry: entryOf("/w/large"), content: new Uint8Array(128 * 1024 + 1) });
  expect(files.get("/w/large")).toEqual({ entry: entryOf("/w/large") });
  const names = Array.from({ length: 20 }, (_, index) => `/w/${index}`);
  for (const name of names) files.note(name, { entry: entryOf(name), content: new Uint8Array(128 * 1024) });
  expect(names.filter((name) => files.get(name))).toEqual(names.slice(4));
  for (let index = 0; index < 300; index++) files.note(`/w/small/${index}`, { entry: null });
  expect(names.filter((name) => files.get(name))).toEqual([]);
});

test("a store that fails costs nothing but the memory", async () => {
  const refusing: RememberedStore = {
    load: () => Promise.reject(new Error("no storage")),
    save: () => Promise.reject(new Error("no storage")),
  };
  const files = await RememberedFiles.open(refusing);
  files.note("/w/a", { entry: null });
  await files.flush();
  expect(files.get("/w/a")).toEqual({ entry: null });
});
