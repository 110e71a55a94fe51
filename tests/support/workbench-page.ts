import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import { chromiumFlags, chromiumPath, viewport } from "./chromium.ts";
import { eventually } from "./eventually.ts";

/** What VS Code itself leaves unhandled; none of it is seen by people. */
const upstreamProblems = [
  // It cancels work all the time and lets the rejection go.
  /Canceled/,
  // Its background highlighting loses a race with typing on a slow machine and highlights again.
  /applyStateStackDiff/,
  // It gives up on a line that takes too long to colour, and then misses what comes after that line.
  /Cannot set null\/undefined state/,
];

/** An emulated machine and a software-rendered editor on two cores take their time. */
export const patienceMs = 60_000;

/** Starts Chromium with an empty profile. `CHROMIUM` names another binary. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath, args: chromiumFlags });
}

/** Starts Chromium with a profile in a folder: what it has loaded and compiled is there for the next page. */
export function launchProfile(folder: string): Promise<BrowserContext> {
  const executablePath = chromiumPath;
  return chromium.launchPersistentContext(folder, { executablePath, args: chromiumFlags, viewport });
}

/** A new page of somebody new, that speaks up about errors inside it. */
export async function newPage(browser: Browser, problems: string[] = []): Promise<Page> {
  const context = await browser.newContext({ viewport });
  return openPage(context, problems);
}

/** A new page that speaks up about errors inside it; with `origin` nothing that a page stored there before is left. */
export async function openPage(context: BrowserContext, problems: string[], origin?: string): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(patienceMs);
  if (origin) {
    const session = await context.newCDPSession(page);
    await session.send("Storage.clearDataForOrigin", { origin, storageTypes: "cookies,local_storage,indexeddb" });
    await session.detach();
  }
  page.on("pageerror", (error) => {
    const problem = `${error.name}: ${error.message}\n${error.stack}`;
    if (!upstreamProblems.some((known) => known.test(problem))) problems.push(problem);
  });
  return page;
}

/** Opens a workspace's page, or opens it again, and waits until it can be used. */
export async function openWorkbench(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await untilReady(page);
}

/** Waits until the workbench can be used. */
export async function untilReady(page: Page): Promise<void> {
  await page.waitForSelector("html[data-workbench=ready]", { state: "attached" });
  await page.waitForSelector(".monaco-workbench .part.statusbar");
}

/** Opens a file with Quick Open, by a part of its name, and waits for its text. */
export async function openFile(page: Page, name: string): Promise<void> {
  const base = name.split("/").at(-1) ?? name;
  // The one that Enter opens: before all results are there it may be another.
  const row = page.locator(".quick-input-list .monaco-list-row.focused", { hasText: base });
  // The machine lists its files at most every few seconds: what was made just now may need a second look.
  await eventually(`Quick Open finds ${name}`, async () => {
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+P");
    await page.locator(".quick-input-widget input[type=text]:visible").fill(name);
    await row.waitFor({ timeout: 5_000 });
    await page.keyboard.press("Enter");
    await page.locator(`.tabs-container .tab.active[data-resource-name="${base}"]`).first().waitFor({ timeout: 5_000 });
    return true;
  });
  await page.locator(".editor-group-container.active .monaco-editor .view-lines").first().waitFor();
}

/** The tab of an open file. */
export function tab(page: Page, name: string): Locator {
  return page.locator(`.tabs-container .tab[data-resource-name="${name}"]`);
}

/** Puts the cursor at the end of the active file and types. */
export async function typeAtEnd(page: Page, text: string): Promise<void> {
  await page.locator(".editor-group-container.active .monaco-editor .view-lines").first().click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(text);
}

/** Saves the active file and waits until its tab no longer says that it is unsaved. */
export async function save(page: Page): Promise<void> {
  await page.keyboard.press("Control+S");
  await page.locator(".tabs-container .tab.active.dirty").waitFor({ state: "detached" });
}

/** The lines of the active editor that are on the screen. */
export async function editorText(page: Page): Promise<string> {
  const lines = page.locator(".editor-group-container.active .monaco-editor .view-lines .view-line");
  return (await lines.allTextContents()).join("\n").replaceAll("\u00a0", " ");
}

/** Runs a command of the palette by its whole title. */
export async function runCommand(page: Page, title: string): Promise<void> {
  await page.keyboard.press("F1");
  await page.locator(".quick-input-widget input[type=text]:visible").fill(`>${title}`);
  const escaped = title.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const name = page.locator(".label-name", { hasText: new RegExp(`^${escaped}$`) });
  await page.locator(".quick-input-list .monaco-list-row", { has: name }).first().click();
}

/** Shows the terminal, making one when there is none, and gives it the keyboard. */
export async function focusTerminal(page: Page): Promise<void> {
  await runCommand(page, "Terminal: Focus Terminal");
  await page.locator(".terminal-wrapper.active .xterm.focus").first().waitFor();
}

/** Types a command line into the terminal. */
export async function runInTerminal(page: Page, command: string): Promise<void> {
  await focusTerminal(page);
  await page.keyboard.type(`${command}\n`);
}

/** Waits until the terminal shows a text. Needs the setting `terminal.integrated.gpuAcceleration: off`. */
export async function untilTerminalShows(page: Page, text: string): Promise<void> {
  const rows = page.locator(".terminal-wrapper.active .xterm-rows > div");
  await eventually(
    `the terminal shows ${JSON.stringify(text)}`,
    async () => {
      const lines = (await rows.allTextContents()).map((row) => row.replaceAll("\u00a0", " ").trimEnd());
      return lines.join("\n").includes(text);
    },
    patienceMs,
  );
}

/** Waits until the browser keeps a copy of what is typed and not saved; until then it asks before the page is left. */
export async function untilBackedUp(page: Page): Promise<void> {
  const backups = `new Promise((resolve, reject) => {
    const opening = indexedDB.open("vscode-web-db");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const store = opening.result.transaction("vscode-userdata-store").objectStore("vscode-userdata-store");
      const keys = store.getAllKeys();
      keys.onerror = () => reject(keys.error);
      keys.onsuccess = () => {
        opening.result.close();
        resolve(keys.result.filter((key) => key.includes("/Backups/")).length);
      };
    };
  })`;
  await eventually("a backup is written", async () => Number(await page.evaluate(backups)) > 0);
}

/** A row of the Source Control view. */
export function changeRow(page: Page, name: string): Locator {
  return page.locator(".scm-view .monaco-list-row .resource", { hasText: name });
}

/**
 * Shows the Source Control view. Its key has no meaning before the repository is found, and a workbench that is still
 * restoring its last layout may show the Explorer once more: asked for until it stays.
 */
export async function showSourceControl(page: Page): Promise<void> {
  const view = page.locator(".scm-view").first();
  await eventually(
    "the Source Control view stays",
    async () => {
      if (!(await view.isVisible())) await page.keyboard.press("Control+Shift+G");
      await page.waitForTimeout(1_000);
      return await view.isVisible();
    },
    patienceMs,
  );
}

/** Types a message and commits what is staged. */
export async function commitStaged(page: Page, message: string): Promise<void> {
  await showSourceControl(page);
  // Before the page knows of them it would ask whether to commit everything.
  await page.locator(".scm-view .resource-group", { hasText: "Staged Changes" }).waitFor();
  const input = page.locator(".scm-view .scm-editor .view-lines").first();
  await input.click();
  await page.keyboard.type(message);
  await page.keyboard.press("Control+Enter");
}
