// What a machine fetches for real, from the mirrors that this one uses.
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform();
});
afterAll(async () => platform?.[Symbol.asyncDispose]());

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
