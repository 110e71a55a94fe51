import { mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { objectStoreSuite } from "../testing/object-store-suite.ts";
import { createFileStore } from "./file-store.ts";

objectStoreSuite("a folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dormouse-objects-"));
  return {
    objects: await createFileStore({ folder: join(folder, "store") }),
    isConditionalPutAtomic: true,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-file-store-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("nobody else may look: folders 0700, files 0600", async () => {
  const objects = await createFileStore({ folder: join(folder, "modes") });
  await objects.put("a/b/c", Buffer.from("x"));
  const modeOf = async (path: string) => ((await stat(join(folder, "modes", path))).mode & 0o777).toString(8);
  expect([await modeOf(""), await modeOf(".tmp"), await modeOf("a"), await modeOf("a/b")]).toEqual(
    Array(4).fill("700"),
  );
  expect(await modeOf("a/b/c")).toBe("600");
});

test("leftovers of dead writers are cleaned, those of live ones are not", async () => {
  const root = join(folder, "leftovers");
  await createFileStore({ folder: root });
  const [dead, live] = [join(root, ".tmp/dead"), join(root, ".tmp/live")];
  await writeFile(dead, "x");
  await writeFile(live, "x");
  const old = new Date(Date.now() - 16 * 60_000);
  await utimes(dead, old, old);
  await createFileStore({ folder: root });
  expect(await readdir(join(root, ".tmp"))).toEqual(["live"]);
});

test("temporary files are no objects, and none stays after any put", async () => {
  const objects = await createFileStore({ folder: join(folder, "clean") });
  await objects.put("a", Buffer.from("x"), { ifAbsent: true });
  await expect(objects.put("a", Buffer.from("y"), { ifAbsent: true })).rejects.toThrow("a in ");
  expect(await readdir(join(folder, "clean"))).toEqual([".tmp", "a"]);
  expect(await readdir(join(folder, "clean/.tmp"))).toEqual([]);
});

test("folders that hold nothing any more go away", async () => {
  const objects = await createFileStore({ folder: join(folder, "empty") });
  await objects.put("a/b/c", Buffer.from("x"));
  await objects.put("a/d", Buffer.from("x"));
  await objects.remove(["a/b/c"]);
  expect(await readdir(join(folder, "empty/a"))).toEqual(["d"]);
  await objects.remove(["a/d"]);
  expect(await readdir(join(folder, "empty"))).toEqual([".tmp"]);
});

test("putting and removing in one folder at the same time loses nothing", async () => {
  const objects = await createFileStore({ folder: join(folder, "busy") });
  await Promise.all(
    Array.from({ length: 16 }, async (_, writer) => {
      for (let round = 0; round < 20; round++) {
        await objects.put(`shared/deep/${writer}`, Buffer.from(`${round}`));
        expect((await objects.get(`shared/deep/${writer}`)).toString()).toBe(`${round}`);
        await objects.remove([`shared/deep/${writer}`]);
      }
    }),
  );
  expect(await readdir(join(folder, "busy"))).toEqual([".tmp"]);
});

test("a symbolic link in the folder is not followed", async () => {
  const objects = await createFileStore({ folder: join(folder, "links") });
  await symlink("/etc/passwd", join(folder, "links/passwd"));
  await expect(objects.get("passwd")).rejects.toMatchObject({ code: "not_found" });
});

test("a full disk is resource_exhausted, and what is there stays readable", async ({ skip }) => {
  if (process.getuid?.() !== 0) skip("mounting a tmpfs needs root");
  const mount = join(folder, "full");
  await mkdir(mount);
  await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
  try {
    const objects = await createFileStore({ folder: join(mount, "store") });
    await objects.put("fits", Buffer.alloc(400_000, 7));
    const error = await objects.put("too-large", Buffer.alloc(2_000_000, 8)).catch((caught) => caught);
    expect(error).toMatchObject({ code: "resource_exhausted" });
    expect(error.message).toContain("too-large in ");
    expect(await objects.stat("too-large")).toBeUndefined();
    expect(await readdir(join(mount, "store/.tmp"))).toEqual([]);
    expect((await objects.get("fits")).equals(Buffer.alloc(400_000, 7))).toBe(true);
    // Room is there again: nothing of the failure is left.
    await objects.put("fits-too", Buffer.alloc(400_000, 9));
  } finally {
    await run("umount", [mount]);
  }
});
