import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { buildWorkbench } from "./built-pages.ts";
import { openDoor, type TestDoor } from "./workbench-door.ts";
import { startMachine, type TestMachine } from "./workbench-machine.ts";
import { launchProfile, openPage, openWorkbench } from "./workbench-page.ts";

/** For each test a repository, the real agent, a door to it, and the editor open in a real browser. */
export function useWorkbench() {
  let home: string;
  let folder: string;
  let dist: string;
  let machine: TestMachine;
  let browser: BrowserContext;
  let door: TestDoor;
  // One address for all tests, so that the browser knows the editor's code from the test before.
  let port: number | undefined;
  let page: Page;
  let problems: string[];

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "dormouse-workbench-"));
    dist = await buildWorkbench();
    browser = await launchProfile(join(home, "profile"));
  });
  afterAll(async () => {
    await browser?.close();
    await rm(home, { recursive: true, force: true });
  });

  beforeEach(async (context) => {
    folder = join(home, `repository-${context.task.id.replaceAll(/\W/g, "")}`);
    // A second attempt begins where the first one did.
    for (const left of [folder, `${folder}-remote.git`]) await rm(left, { recursive: true, force: true });
    await makeRepository(folder);
    // One for each test: terminals that a test leaves come back in the next page.
    machine = await startMachine({ HOME: home });
    door = await openDoor(machine, dist, folder, port);
    port = door.port;
    // What a terminal shows can be read then.
    door.settings.settings = JSON.stringify({ "terminal.integrated.gpuAcceleration": "off" });
    problems = [];
    page = await openPage(browser, problems, door.origin);
    await openWorkbench(page, `${door.origin}/w/calm-otter`);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") {
      const picture = join(tmpdir(), `dormouse-${task.name.replaceAll(/\W+/g, "-").slice(0, 60)}.png`);
      await page.screenshot({ path: picture });
      const outline = await page.locator("body").ariaSnapshot();
      process.stdout.write(`the page as it was: ${picture}\n${outline.slice(0, 8000)}\n`);
    }
    await page?.close();
    await door?.[Symbol.asyncDispose]();
    await machine?.[Symbol.asyncDispose]();
    expect(problems).toEqual([]);
  });

  const git = (...args: string[]) => execFileSync("git", ["-C", folder, ...args], { encoding: "utf8" }).trim();
  const onDisk = (path: string) => readFile(join(folder, path), "utf8");

  async function makeRepository(path: string): Promise<void> {
    await mkdir(join(path, "src"), { recursive: true });
    await writeFile(join(path, "README.md"), "# Calm otter\n");
    await writeFile(
      join(path, "src/greet.ts"),
      "export function greet(name: string) {\n  return 'hello ' + name;\n}\n",
    );
    await writeFile(join(path, "src/other.ts"), "export const needle = 1;\n");
    const run = (...args: string[]) => execFileSync("git", ["-C", path, ...args]);
    run("init", "-q", "-b", "main");
    run("config", "user.name", "Ada");
    run("config", "user.email", "ada@example.test");
    run("add", ".");
    run("commit", "-qm", "First");
    run("branch", "feature");
  }

  return {
    get folder() {
      return folder;
    },
    get door() {
      return door;
    },
    get page() {
      return page;
    },
    git,
    onDisk,
  };
}
