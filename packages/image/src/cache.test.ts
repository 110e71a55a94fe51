import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cached } from "./cache.ts";
import { fileHash } from "./file-hash.ts";

let cacheDir: string;
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "dormouse-cache-"));
});
afterEach(() => rm(cacheDir, { recursive: true }));

/** Folders of artefacts, finished or not. */
const artefacts = async () => (await readdir(cacheDir)).filter((name) => !name.endsWith(".lock"));

test("many callers build once and all get the result", async () => {
  let builds = 0;
  const build = async (folder: string) => {
    builds++;
    await writeFile(join(folder, "result"), "done");
  };
  const recipe = { name: "thing", hash: "abc", title: "Making a thing", build };
  const folders = await Promise.all(Array.from({ length: 5 }, () => cached(recipe, { cacheDir })));
  expect(new Set(folders).size).toBe(1);
  expect(await readFile(join(folders[0] ?? "", "result"), "utf8")).toBe("done");
  await cached(recipe, { cacheDir });
  expect(builds).toBe(1);
});

test("a build that fails leaves nothing, and is made again", async () => {
  const states: string[] = [];
  const progress = (event: { state: string }) => void states.push(event.state);
  const failing = async (folder: string) => {
    await writeFile(join(folder, "half"), "");
    throw new Error("no more room");
  };
  const recipe = { name: "thing", hash: "abc", title: "Making a thing" };
  await expect(cached({ ...recipe, build: failing }, { cacheDir, progress })).rejects.toThrow("no more room");
  expect(await artefacts()).toEqual([]);
  await cached({ ...recipe, build: async () => {} }, { cacheDir, progress });
  expect(await artefacts()).toEqual(["thing-abc"]);
  expect(states).toEqual(["started", "failed", "started", "done"]);
});

test("what a killed builder leaves is cleared away by the next", async () => {
  const program = `
    import { cached } from ${JSON.stringify(new URL("cache.ts", import.meta.url).href)};
    const build = async (folder) => {
      process.stdout.write(folder);
      await new Promise((resolve) => setTimeout(resolve, 1_000_000));
    };
    await cached({ name: "thing", hash: "abc", title: "", build }, { cacheDir: ${JSON.stringify(cacheDir)} });`;
  const builder = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [folder] = await once(builder.stdout, "data");
  builder.kill("SIGKILL");
  await once(builder, "exit");
  expect(await artefacts()).toEqual([basename(folder.toString())]);
  await cached({ name: "thing", hash: "abc", title: "", build: async () => {} }, { cacheDir });
  expect(await artefacts()).toEqual(["thing-abc"]);
});

test("an aborted caller builds nothing", async () => {
  const signal = AbortSignal.abort();
  const build = () => Promise.reject(new Error("built all the same"));
  const recipe = { name: "thing", hash: "abc", title: "Making a thing", build };
  await expect(cached(recipe, { cacheDir, signal })).rejects.toMatchObject({ code: "cancelled" });
  expect(await artefacts()).toEqual([]);
});

test("a file's hash is remembered until the file changes", async () => {
  const path = join(cacheDir, "file");
  await writeFile(path, "abc");
  // The first half of FIPS 180-2's SHA-256 test vector for "abc".
  expect(await fileHash(path, cacheDir)).toBe("ba7816bf8f01cfea414140de");
  expect(await fileHash(path, cacheDir)).toBe("ba7816bf8f01cfea414140de");
  await writeFile(path, "abd");
  expect(await fileHash(path, cacheDir)).not.toBe("ba7816bf8f01cfea414140de");
});

test("side by side, another of the same name does not wait, and the same one is built once", async () => {
  const started = Promise.withResolvers<void>();
  const slow = Promise.withResolvers<void>();
  let builds = 0;
  const build = async () => {
    builds++;
    started.resolve();
    await slow.promise;
  };
  const recipe = { name: "thing", title: "Making a thing", sideBySide: { timeoutMs: 60_000 } };
  const first = [
    cached({ ...recipe, hash: "aaa", build }, { cacheDir }),
    cached({ ...recipe, hash: "aaa", build }, { cacheDir }),
  ];
  await started.promise;
  await cached({ ...recipe, hash: "bbb", build: async () => {} }, { cacheDir });
  slow.resolve();
  await Promise.all(first);
  expect(builds).toBe(1);
  expect((await artefacts()).sort()).toEqual(["thing-aaa", "thing-bbb"]);
});
