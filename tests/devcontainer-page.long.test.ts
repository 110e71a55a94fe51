// What a definition asks of the editor, in a real browser: settings below everybody's own, extensions by name, and the
// command that is run for each page that opens.

import { Workspace } from "@dormouse/sdk";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import { createPretendInternet, type PretendInternet } from "./support/pretend-internet.ts";
import { launchBrowser, newPage, openFile, openWorkbench, patienceMs, runCommand } from "./support/workbench-page.ts";

let internet: PretendInternet;
let platform: TestPlatform;
let browser: Browser;
beforeAll(async () => {
  internet = await createPretendInternet();
  platform = await startTestPlatform();
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await platform?.[Symbol.asyncDispose]();
  await internet?.[Symbol.asyncDispose]();
});

it("a page has the definition's settings below the folder's, names extensions, and has run what is for tools", async () => {
  const { connection } = platform;
  const settings = { "editor.detectIndentation": false, "editor.tabSize": 3, "[markdown]": { "editor.tabSize": 5 } };
  const definition = {
    postAttachCommand: "echo attached >>/tmp/attached; echo and said so; exit 7",
    customizations: { vscode: { settings, extensions: ["pub.recommended"] } },
  };
  const repository = await internet.addRepository("page", {
    ".devcontainer.json": JSON.stringify(definition),
    ".vscode/settings.json": '{ "editor.insertSpaces": true, "[json]": { "editor.tabSize": 7 } }\n',
    ...{ "a.txt": "text\n", "b.md": "# text\n", "c.json": "{}\n" },
  });
  await using workspace = await Workspace.create({ connection, repository });
  const problems: string[] = [];
  const page = await newPage(browser, problems);
  await page.goto(await platform.platform.createSignInLink("/"));
  await page.getByText("page", { exact: true }).first().waitFor();
  await openWorkbench(page, `${platform.url}/w/page`);

  // Of the command, which failed: the page says so, and nobody was kept out.
  const told = page.getByText("postAttachCommand ended with code 7: and said so");
  await told.first().waitFor({ timeout: patienceMs });
  const attached = async () => (await workspace.exec("cat /tmp/attached")).stdout;
  expect(await attached()).toBe("attached\n");
  const size = (name: string) => page.locator(".statusbar-item", { hasText: name });
  await openFile(page, "a.txt");
  await size("Spaces: 3").waitFor();
  await openFile(page, "b.md");
  await size("Spaces: 5").waitFor();
  await openFile(page, "c.json");
  await size("Spaces: 7").waitFor();

  await runCommand(page, "Dormouse: Show Recommended Extensions");
  await page.locator(".quick-input-list .monaco-list-row", { hasText: "pub.recommended" }).waitFor();
  await page.keyboard.press("Escape");
  await openWorkbench(page, `${platform.url}/w/page`);
  await eventually("the second page's", async () => (await attached()) === "attached\nattached\n");
  expect(problems).toEqual([]);
});
