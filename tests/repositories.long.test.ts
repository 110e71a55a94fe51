// Repositories of a size that takes a while to bring.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dormouse } from "./support/dormouse.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
let folder: string;
beforeAll(async () => {
  platform = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), "dormouse-repositories-"));
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

it("repositories of more than 5,000 files answer status, search and quick open", async () => {
  const big = join(folder, "big");
  await run("git", ["init", "-q", "-b", "main", big]);
  const spread =
    "for folder in $(seq 1 52); do mkdir -p src/$folder; for file in $(seq 1 100); do" +
    " echo module $folder/$file >src/$folder/$file.ts; done; done";
  await run("sh", ["-c", spread], { cwd: big, timeoutMs: 120_000 });
  await run("git", ["-C", big, "add", "-f", "."], { timeoutMs: 120_000 });
  await run("git", ["-C", big, "-c", "user.name=Ada", "-c", "user.email=a@b.test", "commit", "-qm", "Many"], {
    timeoutMs: 120_000,
  });
  const count = Number((await run("sh", ["-c", `git -C ${big} ls-files | wc -l`])).stdout);
  expect(count).toBeGreaterThan(5_000);
  const created = await dormouse(platform, ["create", big, "--json"]);
  expect(created.exitCode, created.stderr).toBe(0);
  const workspace = await Workspace.connect("big", { connection: platform.connection });
  const clean = await workspace.git.status("/workspaces/big");
  expect(clean.files).toEqual([]);
  await workspace.files.write("/workspaces/big/fresh.txt", "needle-in-the-haystack\n");
  expect((await workspace.git.status("/workspaces/big")).files.map(({ path }) => path)).toEqual(["fresh.txt"]);
  const found = await workspace.exec("rg -l needle-in-the-haystack");
  expect(found.stdout.trim()).toBe("fresh.txt");
  await workspace.kill();
});
