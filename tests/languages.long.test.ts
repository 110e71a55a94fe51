// Each language server that the product brings, in a real browser over the real agent on this host.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildWorkbench } from "./support/built-pages.ts";
import { languagePrograms } from "./support/language-programs.ts";
import { completes, goToPosition, hovers, marked, showsStatus } from "./support/languages-page.ts";
import { openDoor, type TestDoor } from "./support/workbench-door.ts";
import { startMachine, type TestMachine } from "./support/workbench-machine.ts";
import {
  editorText,
  launchProfile,
  openFile,
  openPage,
  openWorkbench,
  runCommand,
  tab,
} from "./support/workbench-page.ts";

let home: string;
let folder: string;
let machine: TestMachine;
let door: TestDoor;
let browser: BrowserContext;
let page: Page;
const problems: string[] = [];

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "dormouse-languages-"));
  folder = join(home, "repository");
  for (const [name, text] of Object.entries(languagePrograms)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  machine = await startMachine({ HOME: home });
  door = await openDoor(machine, await buildWorkbench(), folder);
  browser = await launchProfile(join(home, "profile"));
  page = await openPage(browser, problems);
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
});
afterAll(async () => {
  await browser?.close();
  await door?.[Symbol.asyncDispose]();
  await machine?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

describe("each language", () => {
  it.each([
    {
      file: "main.ts",
      mark: "error",
      hover: [3, 24, "Greets somebody"],
      type: [5, "gre", "greet"],
      server: /TypeScript 7/,
    },
    { file: "tool.py", mark: "error", hover: [8, 15, "join"], type: [9, "os.path.jo", "join"], server: /Pyright/ },
    {
      file: "package.json",
      mark: "warning",
      hover: [2, 5, "The name of the package"],
      type: [4, '"scri', "scripts"],
      server: /JSON/,
    },
    { file: "style.css", mark: "warning", hover: [3, 4, "color of"], type: [5, "b { displ", "display"], server: /CSS/ },
    { file: "compose.yaml", mark: "error", hover: [2, 4, "ervice"], type: [4, "    comm", "command"], server: /YAML/ },
    { file: "run.sh", mark: "info", hover: [4, 2, "Greets."], type: [6, "gre", "greet"], server: /Bash/ },
  ] as const)("is understood: $file", async ({ file, mark, hover, type, server }) => {
    await openFile(page, file);
    await marked(page, mark);
    const [line, column, text] = hover;
    await goToPosition(page, line, column);
    await hovers(page, text);
    const [at, typed, offered] = type;
    await goToPosition(page, at, 1);
    await completes(page, typed, offered);
    await showsStatus(page, server);
  });

  it("is understood: index.html, which its server finds no fault with", async () => {
    await openFile(page, "index.html");
    await goToPosition(page, 4, 8);
    await hovers(page, "div element");
    await goToPosition(page, 5, 5);
    await completes(page, "<butt", "button");
    await showsStatus(page, /HTML/);
  });
});

describe("definitions", () => {
  it("are found in other files, and in what comes with the servers, which cannot be changed", async () => {
    await openFile(page, "main.ts");
    await goToPosition(page, 3, 24);
    await page.keyboard.press("F12");
    await tab(page, "greet.ts").waitFor();
    await openFile(page, "tool.py");
    await goToPosition(page, 8, 15);
    await page.keyboard.press("F12");
    // Its source where the machine has it, or else what Pyright knows of it.
    await tab(page, "posixpath.py").or(tab(page, "posixpath.pyi")).first().waitFor();
  });
});

describe("changes", () => {
  it("rename a name in all files", async () => {
    await openFile(page, "greet.ts");
    await goToPosition(page, 7, 18);
    await page.keyboard.press("F2");
    const input = page.locator(".rename-box input");
    await input.waitFor();
    await input.fill("salute");
    await page.keyboard.press("Enter");
    await expect.poll(() => editorText(page), { timeout: 30_000 }).toContain("function salute(");
    await openFile(page, "main.ts");
    await expect.poll(() => editorText(page), { timeout: 30_000 }).toContain("salute({");
  });

  it("format a file", async () => {
    await openFile(page, "package.json");
    await runCommand(page, "Format Document");
    await expect.poll(() => editorText(page), { timeout: 30_000 }).toContain('"private": "yes"');
  });
});
