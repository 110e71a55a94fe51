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
