// A repository set up ahead: with real machines, a real git server, and the call that it makes when something was pushed.

import { createHmac } from "node:crypto";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let internet: PretendInternet;
let platform: TestPlatform;
beforeAll(async () => {
  internet = await createPretendInternet();
  platform = await startTestPlatform({ poolSize: 1 });
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
});

it("a workspace starts where its repository was prebuilt, with the newest commits; a push has it prebuilt again", async () => {
  const { connection } = platform;
  const definition = {
    onCreateCommand: "sleep 5; echo created >>~/ran",
    updateContentCommand: "cat version.txt >>~/ran",
    postCreateCommand: "echo mine >>~/ran",
    customizations: { dormouse: { prebuild: { trigger: ["push", "pr"], ttl: "1d" } } },
  };
  const files = { ".devcontainer.json": JSON.stringify(definition), "version.txt": "one\n" };
  const repository = await internet.addRepository("ahead", files);

  const first = await dormouse(platform, ["prebuild", "run", `${repository}@main`, "--json"]);
  expect(first, first.stderr).toMatchObject({ exitCode: 0 });
  const prebuild = JSON.parse(first.stdout) as { id: string; commit: string };
  expect(prebuild).toMatchObject({ state: "ready", ref: "main", problem: null, triggers: ["push", "pr"] });
  expect((await dormouse(platform, ["prebuild", "logs", prebuild.id])).stdout).toContain("=== onCreateCommand");
  const ran = async (workspace: Workspace) => (await workspace.exec("cat ~/ran")).stdout;

  const beganMs = performance.now();
  await using workspace = await Workspace.create({ connection, repository, ref: "main" });
  process.stderr.write(`created from a prebuild in ${Math.round(performance.now() - beganMs)} ms\n`);
  await eventually("its own command", async () => (await ran(workspace)) === "created\none\nmine\n");

  // What is pushed is there in the next workspace, before and after it was prebuilt.
  const push =
    "echo two >version.txt && git -c user.name=a -c user.email=a@example.test commit -qam two && git push -q && git rev-parse HEAD";
  const { stdout: commit, stderr } = await workspace.exec(push);
  expect(commit, stderr).toMatch(/^[0-9a-f]{40}\n$/);
  await using behind = await Workspace.create({ connection, repository, ref: "main" });
  await eventually("what is new", async () => (await ran(behind)) === "created\none\ntwo\nmine\n");

  const { url, secret } = JSON.parse((await dormouse(platform, ["prebuild", "hook", prebuild.id, "--json"])).stdout);
  const notify = async (key: string) => {
    const body = JSON.stringify({ ref: "refs/heads/main" });
    const signature = `sha256=${createHmac("sha256", key).update(body).digest("hex")}`;
    const headers = { "content-type": "application/json", "x-hub-signature-256": signature };
    return (await fetch(url, { method: "POST", headers, body })).status;
  };
  expect(await notify("not the secret")).toBe(404);
  expect(await notify(secret)).toBe(202);
  const shown = async () => JSON.parse((await dormouse(platform, ["prebuild", "show", prebuild.id, "--json"])).stdout);
  await eventually("the push is prebuilt", async () => (await shown()).commit === commit.trim(), 120_000);
  await using after = await Workspace.create({ connection, repository, ref: "main" });
  await eventually("what was prebuilt", async () => (await ran(after)) === "created\ntwo\nmine\n");
  expect((await after.exec("git log --format=%s; git status --short --branch")).stdout).toBe(
    "two\nFirst commit\n## main...origin/main\n",
  );

  expect(await dormouse(platform, ["prebuild", "delete", prebuild.id])).toMatchObject({ exitCode: 0 });
  expect(JSON.parse((await dormouse(platform, ["prebuild", "list", "--json"])).stdout)).toEqual([]);
  expect((await Workspace.list({ connection })).map(({ repository: of }) => of)).toEqual([
    repository,
    repository,
    repository,
  ]);
});
