// Debugging as a person does it: in a real browser, over the real agent and real debuggers on this host.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createGuestClient } from "@dormouse/guest";
import { buildDebugTools } from "@dormouse/image";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { buildWorkbench } from "./support/built-pages.ts";
import {
  callStack,
  consoleText,
  evaluateInConsole,
  focusedLine,
  toggleBreakpoint,
  untilStopped,
  variable,
} from "./support/debug-page.ts";
import { makeDebugProgram } from "./support/debug-programs.ts";
import { eventually } from "./support/eventually.ts";
import { openDoor, type TestDoor } from "./support/workbench-door.ts";
import { startMachine, type TestMachine } from "./support/workbench-machine.ts";
import { launchBrowser, newPage, openFile, openWorkbench, runCommand, untilReady } from "./support/workbench-page.ts";

let home: string;
let folder: string;
let dist: string;
let machine: TestMachine;
let browser: Browser;
let door: TestDoor;
let page: Page;
let problems: string[];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "dormouse-debug-"));
  folder = join(home, "project");
  await mkdir(folder);
  dist = await buildWorkbench();
  browser = await launchBrowser();
  const tools = await buildDebugTools();
  machine = await startMachine({ HOME: home, DORMOUSE_DEBUG_TOOLS: tools.path, DORMOUSE_DEBUG_NODE: process.execPath });
});
afterAll(async () => {
  await browser?.close();
  await machine?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

beforeEach(async () => {
  door = await openDoor(machine, dist, folder);
  door.settings.settings = JSON.stringify({ "terminal.integrated.gpuAcceleration": "off" });
  problems = [];
  page = await newPage(browser, problems);
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") {
    const picture = join(tmpdir(), `dormouse-${task.name.replaceAll(/\W+/g, "-").slice(0, 60)}.png`);
    await page.screenshot({ path: picture });
    process.stdout.write(`the page as it was: ${picture}\n`);
  }
  await page?.context().close();
  for (const { sessionId } of await sessions()) await guest().debug.stop({ sessionId });
  await door?.[Symbol.asyncDispose]();
  expect(problems).toEqual([]);
});

const guest = () => createGuestClient({ baseUrl: machine.url, token: machine.token });
const sessions = async () => (await guest().debug.list({})).sessions;

it("steps through Python without any configuration, and a reloaded page finds it where it stood", async () => {
  const { file } = await makeDebugProgram("python", folder);
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
  await openFile(page, "sum.py");
  await toggleBreakpoint(page, 2);
  await page.keyboard.press("F5");
  await untilStopped(page);
  expect(await focusedLine(page)).toBe(2);
  await eventually("the call stack is shown", async () => (await callStack(page)).some((row) => row.includes("add")));
  expect(await variable(page, "a")).toBe("1");
  await page.keyboard.press("F10");
  await eventually("it has stepped", async () => (await focusedLine(page)) === 3);
  expect(await variable(page, "total")).toBe("3");
  await evaluateInConsole(page, "total + 39");
  await eventually("the console answers", async () => (await consoleText(page)).includes("42"));
  await page.reload();
  await untilReady(page);
  await untilStopped(page);
  await eventually("it stands where it stood", async () => (await focusedLine(page)) === 3);
  expect(await variable(page, "total")).toBe("3");
  expect((await sessions()).map(({ configuration }) => configuration.program)).toEqual([file]);
  await page.keyboard.press("Shift+F5");
  await eventually("it is over", async () => (await sessions()).length === 0);
});

it("steps through Node from launch.json, with a session for each process, and shows it in a second browser", async () => {
  await makeDebugProgram("node", folder);
  await mkdir(join(folder, ".vscode"));
  const configuration = { type: "node", request: "launch", name: "Sum", program: "${workspaceFolder}/node/sum.js" };
  await writeFile(
    join(folder, ".vscode/launch.json"),
    JSON.stringify({ version: "0.2.0", configurations: [configuration] }),
  );
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
  await openFile(page, "sum.js");
  await toggleBreakpoint(page, 2);
  await page.keyboard.press("F5");
  await untilStopped(page);
  expect(await variable(page, "a")).toBe("1");
  const second = await newPage(browser, problems);
  await openWorkbench(second, `${door.origin}/w/calm-otter`);
  await untilStopped(second);
  expect(await focusedLine(second)).toBe(2);
  await second.keyboard.press("F10");
  await eventually("the first one follows", async () => (await focusedLine(page)) === 3);
  await second.context().close();
  await page.keyboard.press("Shift+F5");
  await eventually("it is over", async () => (await sessions()).length === 0);
});

it("stops at a line by its condition and at a function by its name, and watches", async () => {
  await makeDebugProgram("python", folder);
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
  await openFile(page, "sum.py");
  await toggleBreakpoint(page, 3);
  await runCommand(page, "Debug: Edit Breakpoint");
  await page.locator(".breakpoint-widget .monaco-editor.focused").waitFor();
  await page.keyboard.type("total > 5");
  await page.keyboard.press("Enter");
  await page.locator(".codicon-debug-breakpoint-conditional").first().waitFor();
  await page.keyboard.press("F5");
  await untilStopped(page);
  expect(await variable(page, "total")).toBe("7");
  await page.keyboard.press("Shift+F5");
  await eventually("it is over", async () => (await sessions()).length === 0);

  await runCommand(page, "Remove All Breakpoints");
  await runCommand(page, "Add Function Breakpoint");
  await page.locator(".debug-breakpoints .inputBoxContainer input").first().fill("add");
  await page.keyboard.press("Enter");
  await page.locator(".editor-group-container.active .monaco-editor .view-lines").first().click();
  await page.keyboard.press("F5");
  await untilStopped(page);
  const watch = page.locator(".pane-header", { hasText: /^Watch/i });
  await watch.hover();
  await watch.locator("[aria-label='Add Expression']").click();
  await page.locator(".debug-watch .inputBoxContainer input").first().fill("a * 100 + b");
  await page.keyboard.press("Enter");
  const watched = page.locator(".debug-watch .monaco-list-row", { hasText: "a * 100 + b" });
  await eventually("it is watched", async () => (await watched.textContent())?.includes("102"));
  await page.keyboard.press("F5");
  await eventually("it stands there the second time", async () => (await watched.textContent())?.includes("304"));
  await page.keyboard.press("Shift+F5");
  await eventually("it is over", async () => (await sessions()).length === 0);
});

it("attaches to a process that is picked from the list, and leaves it running", async () => {
  const file = join(folder, "ticking.js");
  await writeFile(file, "let ticks = 0;\nsetInterval(() => {\n  ticks++;\n}, 200);\n");
  const ticking = spawn(process.execPath, [file], { stdio: "ignore" });
  try {
    await openWorkbench(page, `${door.origin}/w/calm-otter`);
    await openFile(page, "ticking.js");
    await toggleBreakpoint(page, 3);
    await runCommand(page, "Debug: Attach to Process...");
    await page.locator(".quick-input-widget input[type=text]:visible").fill("ticking.js");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "ticking.js" }).first().click();
    await untilStopped(page);
    expect(await focusedLine(page)).toBe(3);
    await page.keyboard.press("Shift+F5");
    await eventually("it is over", async () => (await sessions()).length === 0);
    expect(ticking.exitCode).toBeNull();
  } finally {
    ticking.kill("SIGKILL");
  }
});
