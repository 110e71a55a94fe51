// Extensions in a real browser, over the real control and agent on this host: from files and from a gallery, and what they may not.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startTestPlatform, startTestPostgres, type TestPlatform } from "../packages/control/src/testing/platform.ts";
import { vsixOf } from "../packages/control/src/testing/zip.ts";
import { buildWorkbench } from "./support/built-pages.ts";
import { eventually } from "./support/eventually.ts";
import { startGallery, type TestGallery } from "./support/gallery.ts";
import { openDoor, type TestDoor } from "./support/workbench-door.ts";
import { startMachine } from "./support/workbench-machine.ts";
import { editorText, launchProfile, openFile, openPage, openWorkbench, runCommand } from "./support/workbench-page.ts";

const resources = disposer();
let platform: TestPlatform;
let gallery: TestGallery;
let door: TestDoor;
let home: string;
let folder: string;
let browser: BrowserContext;
let page: Page;
const problems: string[] = [];

const dusk = vsixOf(
  {
    name: "dusk",
    displayName: "Dusk",
    contributes: { themes: [{ label: "Dusk", uiTheme: "vs-dark", path: "./dusk.json" }] },
  },
  { "dusk.json": JSON.stringify({ colors: { "editor.background": "#123456" }, tokenColors: [] }) },
);
const shortcuts = vsixOf(
  {
    name: "shortcuts",
    contributes: {
      keybindings: [{ key: "ctrl+alt+y", command: "editor.action.insertLineAfter", when: "editorTextFocus" }],
      snippets: [{ language: "plaintext", path: "./snippets.json" }],
    },
  },
  { "snippets.json": JSON.stringify({ Greeting: { prefix: "greeting", body: "Good evening, Ada." } }) },
);
/** Tries what an extension must not be able to do, and tells what came of it. */
const program = `
const vscode = require("vscode");
const attempt = async (name, work) => { try { return name + ": " + await work(); } catch (error) { return name + " refused"; } };
exports.activate = (context) => context.subscriptions.push(
  vscode.commands.registerCommand("ada.greet", () => vscode.window.showInformationMessage("Good evening from a browser")),
  vscode.commands.registerCommand("ada.reach", async () => {
    const origin = ORIGIN;
    const told = [
      "origin: " + self.origin,
      await attempt("fetch", async () => (await fetch(origin + "/api/me/settings", { credentials: "include" })).status),
      await attempt("post", async () => (await fetch(origin + "/api/me/settings", { method: "POST", mode: "no-cors", body: "{}" })).type),
      await attempt("elsewhere", async () => (await fetch("https://example.com/", { mode: "no-cors" })).type),
      await attempt("file", async () => (await vscode.workspace.fs.readFile(vscode.Uri.parse(origin + "/api/me/settings"))).length),
      await attempt("json", async () => JSON.stringify(await vscode.commands.executeCommand("_workbench.fetchJSON", origin + "/api/me/settings", "GET"))),
      await attempt("command", () => vscode.commands.executeCommand("dormouse.showEgress")),
      await attempt("cookies", () => indexedDB.open("x") && "a database"),
    ];
    const folder = vscode.workspace.workspaceFolders[0].uri;
    await vscode.workspace.fs.writeFile(vscode.Uri.joinPath(folder, "reach.txt"), new TextEncoder().encode(told.join("\\n")));
    const panel = vscode.window.createWebviewPanel("ada.view", "A view", vscode.ViewColumn.Active, { enableScripts: true });
    panel.webview.html = "<p id=p>Only words</p><script>document.getElementById('p').textContent = 'A program ran'</script>";
  }),
);`;
const commands = [
  { command: "ada.greet", title: "Greet", category: "Ada" },
  { command: "ada.reach", title: "Reach", category: "Ada" },
];
const greeterOf = (origin: string) =>
  vsixOf(
    { name: "greeter", browser: "./dist/web.js", main: "./dist/node.js", contributes: { commands } },
    { "dist/web.js": program.replace("ORIGIN", JSON.stringify(origin)) },
  );
const server = vsixOf({ name: "server", main: "./main.js" }, { "main.js": "" });

beforeAll(async () => {
  const foundry = { publisher: "foundry", version: "1.0.0", description: "From the gallery" };
  const dawn = vsixOf(
    {
      ...{ publisher: "foundry", name: "dawn" },
      contributes: { themes: [{ label: "Dawn", uiTheme: "vs", path: "./dawn.json" }] },
    },
    { "dawn.json": JSON.stringify({ colors: { "editor.background": "#fedcba" } }), "README.md": "# Dawn\n" },
  );
  gallery = await startGallery([{ ...foundry, name: "dawn", package: dawn, isForBrowsers: true }]);
  resources.add(async () => gallery[Symbol.asyncDispose]());
  platform = await startTestPlatform(resources, await startTestPostgres(resources), {
    extensions: { galleryUrl: gallery.url },
  });
  home = await mkdtemp(join(tmpdir(), "dormouse-extensions-"));
  resources.add(() => rm(home, { recursive: true, force: true }));
  folder = join(home, "repository");
  await mkdir(folder);
  await writeFile(join(folder, "notes.txt"), "notes\n");
  const machine = await startMachine({ HOME: home });
  resources.add(async () => machine[Symbol.asyncDispose]());
  const known = { url: platform.control.url, apiKey: platform.apiKey };
  door = await openDoor(machine, await buildWorkbench(), folder, 0, known);
  resources.add(async () => door[Symbol.asyncDispose]());
  browser = await launchProfile(join(home, "profile"));
  resources.add(() => browser.close());
  page = await openPage(browser, problems);
  page.setDefaultTimeout(45_000);
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
});
afterAll(async () => {
  await resources[Symbol.asyncDispose]();
  expect(problems).toEqual([]);
});
afterEach(async ({ task }) => {
  const picture = join(tmpdir(), `dormouse-extensions-${task.name.replaceAll(/\W+/g, "-").slice(0, 40)}.png`);
  await page.screenshot({ path: picture });
  if (task.result?.state === "fail") process.stdout.write(`the page as it was: ${picture}\n`);
});

const installedHere = async () => {
  const { body } = await platform.call("GET", "/api/me/extensions");
  return (body.extensions as { identifier: string }[]).map(({ identifier }) => identifier);
};
const notice = (text: string | RegExp, on = page) => on.locator(".notification-toast", { hasText: text }).first();
const installFile = async (name: string, content: Buffer) => {
  await runCommand(page, "Extensions: Install from VSIX...");
  const choosing = page.waitForEvent("filechooser");
  await page.locator(".quick-input-list .monaco-list-row", { hasText: "From This Computer" }).click();
  await (await choosing).setFiles({ name, mimeType: "application/zip", buffer: content });
};
const background = (on = page) =>
  on.evaluate("getComputedStyle(document.querySelector('.editor-group-container .monaco-editor')).backgroundColor");
const chooseTheme = async (label: string, on = page) => {
  await runCommand(on, "Preferences: Color Theme");
  await on.locator(".quick-input-widget input[type=text]:visible").fill(label);
  await on.locator(".quick-input-list .monaco-list-row.focused", { hasText: label }).waitFor();
  await on.keyboard.press("Enter");
};
const installedRow = (name: string) => page.locator(".extensions-list .extension-list-item", { hasText: name }).first();
const searchFor = async (text: string) => {
  await page.keyboard.press("Control+Shift+X");
  const box = page.locator(".extensions-viewlet .suggest-input-container .view-lines").first();
  await box.click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
};

test("a theme from a file of this computer is applied", async () => {
  await openFile(page, "notes.txt");
  await installFile("dusk.vsix", dusk);
  await notice("Dusk 1.0.0 is installed").waitFor();
  await chooseTheme("Dusk");
  await eventually("its colour is there", async () => (await background()) === "rgb(18, 52, 86)", 60_000);
});

test("keys and snippets from a file of the workspace work", async () => {
  await writeFile(join(folder, "shortcuts.vsix"), shortcuts);
  const row = page.locator(".explorer-folders-view .monaco-list-row", { hasText: "shortcuts.vsix" });
  await page.keyboard.press("Control+Shift+E");
  await row.click({ button: "right" });
  // A menu that has just opened takes no clicks yet.
  await page.locator(".monaco-menu .action-label", { hasText: "Install Extension VSIX" }).hover();
  await page.keyboard.press("Enter");
  await notice("ada.shortcuts 1.0.0 is installed").waitFor();
  await openFile(page, "notes.txt");
  await page.locator(".editor-group-container.active .view-lines").first().click();
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Control+Alt+Y");
  await page.keyboard.type("greeting");
  await runCommand(page, "Snippets: Insert Snippet");
  await page.locator(".quick-input-list .monaco-list-row", { hasText: "Greeting" }).first().click();
  await eventually("the snippet is in a line of its own", async () =>
    /notes\s*\n?.*Good evening, Ada\./.test(await editorText(page)),
  );
});

test("a program with an entry for browsers runs, and reaches nothing of the platform", async () => {
  await installFile("greeter.vsix", greeterOf(door.origin));
  await notice("ada.greeter 1.0.0 is installed").waitFor();
  await runCommand(page, "Ada: Greet");
  await notice("Good evening from a browser").waitFor();
  await runCommand(page, "Ada: Reach");
  const reached = await eventually(
    "it tells what it reached",
    () => readFile(join(folder, "reach.txt"), "utf8"),
    60_000,
  );
  expect(reached.split("\n")).toEqual([
    "origin: null",
    ...["fetch", "post", "elsewhere", "file", "json", "command", "cookies"].map((name) => `${name} refused`),
  ]);
  const frame = page.frameLocator(".webview").last().frameLocator("iframe");
  await frame.getByText("Only words").waitFor();
  await page.locator(".tabs-container .tab", { hasText: "notes.txt" }).click();
});

test("one that needs Node.js is refused with the reason", async () => {
  await installFile("server.vsix", server);
  await notice(
    /server\.vsix was not installed: ada\.server cannot run in a browser: its program needs Node\.js/,
  ).waitFor();
  expect(await installedHere()).toEqual(["ada.dusk", "ada.greeter", "ada.shortcuts"]);
});

test("one is found in the gallery, shown, and installed; the gallery does not hear from whom", async () => {
  await searchFor("dawn");
  const row = installedRow("dawn");
  await row.click();
  await page.locator(".extension-editor", { hasText: "From the gallery" }).first().waitFor();
  await page.locator(".extension-editor .action-label.install", { hasText: "Install" }).first().click();
  // Who published it is asked about once.
  await page.locator(".monaco-dialog-box .monaco-button", { hasText: /Trust/ }).first().click();
  await eventually("the server keeps it", async () => (await installedHere()).includes("foundry.dawn"), 60_000);
  for (const { headers } of gallery.requests) {
    expect(Object.keys(headers)).not.toEqual(expect.arrayContaining(["cookie"]));
    expect(headers.authorization).toBeUndefined();
    expect(headers["user-agent"]).toBe("Dormouse");
  }
});

test("they are there after a reload, and in another browser of the same person", async () => {
  await openWorkbench(page, `${door.origin}/w/calm-otter`);
  await runCommand(page, "Ada: Greet");
  await notice("Good evening from a browser").waitFor();
  await using other = await launchProfile(join(home, "other-profile"));
  const second = await openPage(other, problems);
  second.setDefaultTimeout(90_000);
  await openWorkbench(second, `${door.origin}/w/calm-otter`);
  await openFile(second, "notes.txt");
  await chooseTheme("Dawn", second);
  await eventually("its colour is there", async () => (await background(second)) === "rgb(254, 220, 186)", 60_000);
});

test("one that is uninstalled is gone from the server too", async () => {
  await searchFor("@installed greeter");
  await installedRow("greeter").click();
  await page.locator(".extension-editor .action-label.uninstall").first().click();
  await eventually("the server has it no more", async () => !(await installedHere()).includes("ada.greeter"), 60_000);
});
