// What a machine fetches for real, from the mirrors that this one uses.
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";

let platform: TestPlatform;
let internet: PretendInternet;
beforeAll(async () => {
  internet = await createPretendInternet();
  platform = await startTestPlatform();
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
});

it("Debian's packages are installed in a machine", async () => {
  await using workspace = await Workspace.create({ connection: platform.connection });
  const apt = await workspace.exec(
    "sudo apt-get update -q && sudo apt-get install -yq --no-install-recommends hello && hello",
    { timeoutMs: 240_000 },
  );
  expect(apt, apt.stderr).toMatchObject({ exitCode: 0 });
  expect(apt.stdout).toContain("Hello, world!");
});

it("a real npm ci runs in a machine", async () => {
  await using workspace = await Workspace.create({ connection: platform.connection });
  const manifest = { name: "probe", version: "1.0.0", dependencies: { "is-number": "7.0.0" } };
  const integrity = "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==";
  const packages = { "": manifest, "node_modules/is-number": { version: "7.0.0", integrity } };
  const lock = { ...manifest, lockfileVersion: 3, requires: true, packages };
  await workspace.files.write("/workspace/package.json", JSON.stringify(manifest));
  await workspace.files.write("/workspace/package-lock.json", JSON.stringify(lock));
  const npm = await workspace.exec("npm ci && node -p 'require(\"is-number\")(5)'", { timeoutMs: 240_000 });
  expect(npm, npm.stderr).toMatchObject({ exitCode: 0 });
  expect(npm.stdout.trim().split("\n").at(-1)).toBe("true");
});

it("what a repository without a definition asks of mise is installed in its machine", async () => {
  const { connection } = platform;
  const tools = '[tools]\n"npm:semver" = "7.7.1"\n';
  const repository = await internet.addRepository("tooled", { "mise.toml": tools });
  await using workspace = await Workspace.create({ connection, repository });
  const version = async () => (await workspace.exec("semver --help | head -1; command -v semver")).stdout;
  const expected = "SemVer 7.7.1\n/home/dev/.local/share/mise/shims/semver\n";
  await eventually("the tool", async () => (await version()) === expected, 240_000);
});
