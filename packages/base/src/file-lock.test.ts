import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withFileLock } from "./file-lock.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-lock-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("only one holder at a time", async () => {
  let holders = 0;
  let most = 0;
  const turns = Array.from({ length: 8 }, () =>
    withFileLock(join(folder, "turns"), async () => {
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setImmediate(resolve));
      holders--;
    }),
  );
  await Promise.all(turns);
  expect(most).toBe(1);
});

test("waiting ends with a clear error and leaves the lock usable", async () => {
  const path = join(folder, "taken");
  await withFileLock(path, async () => {
    await expect(withFileLock(path, async () => "never", { timeoutMs: 50 })).rejects.toThrow(
      `waiting for the lock ${path} took longer than 50 ms`,
    );
  });
  expect(await withFileLock(path, async () => "free")).toBe("free");
});

test("an error of the work gives the lock back", async () => {
  const path = join(folder, "failing");
  await expect(
    withFileLock(path, async () => {
      throw new Error("work failed");
    }),
  ).rejects.toThrow("work failed");
  expect(await withFileLock(path, async () => "free")).toBe("free");
});
