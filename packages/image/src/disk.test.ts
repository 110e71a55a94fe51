import { mkdtemp, open, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cloneDisk, createWorkspaceDisk } from "./disk.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-disk-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("a new drive is large, nearly empty, sound and ready for the overlay", async () => {
  const path = join(folder, "new.ext4");
  await createWorkspaceDisk(path, 10);
  const facts = await stat(path);
  expect(facts.size).toBe(10 * 1024 ** 3);
  expect(facts.blocks * 512).toBeLessThan(4 * 1024 ** 2);
  await run("e2fsck", ["-f", "-n", path]);
  const { stdout } = await run("debugfs", ["-R", "ls -p /", path]);
  expect(stdout).toMatch(/\/040755\/0\/0\/upper\//);
  expect(stdout).toMatch(/\/0407\d\d\/0\/0\/work\//);
  expect((await run("dumpe2fs", ["-h", path])).stdout).toMatch(/Reserved block count:\s+0\n/);
  await expect(createWorkspaceDisk(path, 10)).rejects.toThrow(`there is already a file ${path}`);
});

test("a clone holds the same and stays sparse", async () => {
  const [from, to] = [join(folder, "from"), join(folder, "to")];
  const file = await open(from, "wx");
  await file.truncate(64 * 1024 ** 2);
  await file.write("here", 40 * 1024 ** 2);
  await file.close();
  await cloneDisk(from, to);
  await run("cmp", [from, to]);
  expect((await stat(to)).blocks * 512).toBeLessThan(1024 ** 2);
  await expect(cloneDisk(from, to)).rejects.toThrow(`there is already a file ${to}`);
  await expect(cloneDisk(join(folder, "nowhere"), join(folder, "other"))).rejects.toMatchObject({ code: "not_found" });
});

test("sizes out of range are refused, and failures leave nothing", async () => {
  const before = await readdir(folder);
  const path = join(folder, "never.ext4");
  await expect(createWorkspaceDisk(path, 0)).rejects.toThrow("sizeGib is 0; it must be a whole number from 1 to 2048");
  await expect(createWorkspaceDisk(path, 1.5)).rejects.toThrow("sizeGib is 1.5");
  await expect(createWorkspaceDisk(path, 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "cancelled",
  });
  await writeFile(join(folder, "a-file"), "");
  await expect(cloneDisk(join(folder, "a-file"), join(folder, "no-folder/x"))).rejects.toThrow();
  expect((await readdir(folder)).sort()).toEqual([...before, "a-file"].sort());
});
