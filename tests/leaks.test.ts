// Promise 13, the short version: after many create-and-delete cycles everything is as before.
import { afterAll, beforeAll, it } from "vitest";
import { expectNoLeaks } from "./support/leaks.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const cycles = 10;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 1 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

it(`${cycles} workspaces created and deleted leave nothing behind`, { timeout: 480_000 }, () =>
  expectNoLeaks(platform, cycles),
);
