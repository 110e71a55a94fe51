// The editor's page of a workspace is built by the browser before it is asked for, and shows what it knows while the
// machine wakes. Driven by Puppeteer: see tests/support/prepared-page.ts.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { disposer } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { openBrowser, openPage, saveFile, signIn, typeFirstCharacter } from "./support/prepared-page.ts";

const owned = disposer();
const content = `${Array.from({ length: 20 }, (_, index) => `line ${index} of a file that is open`).join("\n")}\n`;
let platform: TestPlatform;
let workspace: Workspace;
let page: Page;
let file: string;
let address: string;

beforeAll(async () => {
  platform = await startTestPlatform();
  owned.add(async () => platform[Symbol.asyncDispose]());
  const profile = await mkdtemp(join(tmpdir(), "dormouse-profile-"));
  owned.add(() => rm(profile, { recursive: true, force: true }));
  const browser = await openBrowser(profile);
  owned.add(async () => browser.close());
  page = await openPage(browser);
  workspace = await Workspace.create({ connection: platform.connection, name: "prepared" });
  file = `${workspace.folder}/notes.txt`;
  address = new URL("/w/prepared", platform.url).href;
  await workspace.files.write(file, content);
  await signIn(page, await platform.platform.createSignInLink("/"));
  await page.goto(`${address}?file=${encodeURIComponent(file)}`);
  await typeFirstCharacter(page, address);
  await saveFile(page);
});
afterAll(() => owned[Symbol.asyncDispose]());

/** Opens the list, waits until the page behind it is built, and clicks. */
async function clickPrepared(before: () => Promise<void> = async () => {}): Promise<void> {
  await page.goto(platform.url);
  const link = await page.waitForSelector('a.row-name[href="/w/prepared"]');
  await new Promise((resolve) => setTimeout(resolve, 20_000));
  await before();
  await link?.click();
}

/** In the page, as text: its types are not those of this process. */
const openedHow = () =>
  page.evaluate(`(() => {
    const shownMs = performance.getEntriesByType("navigation")[0].activationStart;
    const built = performance.getEntriesByName("dormouse/open files back")[0]?.startTime ?? Infinity;
    return { wasPrepared: shownMs > 0, wasBuilt: built < shownMs };
  })()`);

test("the page of a sleeper is built without waking it; a click shows the file, and what is typed is saved", async () => {
  await page.goto("about:blank");
  await workspace.hibernate();
  await clickPrepared(async () => expect((await workspace.refresh()).info.state).toBe("hibernated"));
  await typeFirstCharacter(page, address);
  expect(await openedHow()).toEqual({ wasPrepared: true, wasBuilt: true });
  await saveFile(page);
  expect((await workspace.refresh()).info.state).toBe("running");
  const lines = (await workspace.files.readText(file)).split("\n");
  expect(lines).toHaveLength(21);
  expect(lines[0]).toMatch(/^[^ ]{2,}ine 0 of a file that is open$/);
  expect(lines.slice(1).join("\n")).toBe(content.split("\n").slice(1).join("\n"));
});

test("what changed behind the page's back is not overwritten by what is typed into what it remembers", async () => {
  await page.goto("about:blank");
  const changed = `${content}and a line from elsewhere\n`;
  await workspace.files.write(file, changed);
  await workspace.hibernate();
  await clickPrepared();
  await typeFirstCharacter(page, address);
  await page.keyboard.down("Control");
  await page.keyboard.press("s");
  await page.keyboard.up("Control");
  await page.waitForSelector("::-p-text(The content of the file is newer)");
  expect(await workspace.files.readText(file)).toBe(changed);
  await page.locator(".notifications-toasts .monaco-text-button::-p-text(Overwrite)").click();
  await eventually(
    "the text as it was typed is saved",
    async () => !(await workspace.files.readText(file)).includes("and a line from elsewhere"),
  );
});
