// The editor in a real browser, over the real agent on this host: files, terminals, source control, search, and losses.
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { accessibilityFaults, upstreamFaults } from "./support/accessibility.ts";
import { buildWorkbench } from "./support/built-pages.ts";
import { eventually } from "./support/eventually.ts";
import { openDoor, type TestDoor } from "./support/workbench-door.ts";
import { startMachine, type TestMachine } from "./support/workbench-machine.ts";
import {
  changeRow,
  commitStaged,
  editorText,
  focusTerminal,
  launchProfile,
  openFile,
  openPage,
  openWorkbench,
  runCommand,
  runInTerminal,
  save,
  showSourceControl,
  tab,
  typeAtEnd,
  untilBackedUp,
  untilReady,
  untilTerminalShows,
} from "./support/workbench-page.ts";

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
  await writeFile(join(path, "src/greet.ts"), "export function greet(name: string) {\n  return 'hello ' + name;\n}\n");
  await writeFile(join(path, "src/other.ts"), "export const needle = 1;\n");
  const run = (...args: string[]) => execFileSync("git", ["-C", path, ...args]);
  run("init", "-q", "-b", "main");
  run("config", "user.name", "Ada");
  run("config", "user.email", "ada@example.test");
  run("add", ".");
  run("commit", "-qm", "First");
  run("branch", "feature");
}

describe("files", () => {
  it("are opened, changed and saved on the machine", async () => {
    await openFile(page, "greet.ts");
    expect(await editorText(page)).toContain("export function greet");
    await typeAtEnd(page, "// typed in the browser");
    await tab(page, "greet.ts").and(page.locator(".dirty")).waitFor();
    await save(page);
    expect(await onDisk("src/greet.ts")).toMatch(/\/\/ typed in the browser$/);
  });

  it("that change on the machine change in the editor and in the explorer", async () => {
    await openFile(page, "greet.ts");
    await writeFile(join(folder, "src/greet.ts"), "// written by the machine\n");
    await eventually("the editor shows it", async () => (await editorText(page)).includes("written by the machine"));
    await writeFile(join(folder, "fresh.txt"), "");
    await page.locator(".explorer-folders-view .monaco-list-row", { hasText: "fresh.txt" }).waitFor();
  });

  it("that changed meanwhile are not overwritten without a question", async () => {
    await openFile(page, "greet.ts");
    await typeAtEnd(page, "// mine");
    await writeFile(join(folder, "src/greet.ts"), "// theirs, and longer than before so that nobody mistakes it\n");
    await page.keyboard.press("Control+S");
    await page.locator(".notification-list-item", { hasText: "content of the file is newer" }).waitFor();
    expect(await onDisk("src/greet.ts")).toContain("theirs");
  });

  it("of several megabytes go both ways whole", async () => {
    const line = `${"0123456789".repeat(9)}\n`;
    await writeFile(join(folder, "big.txt"), line.repeat(20_000));
    await openFile(page, "big.txt");
    await typeAtEnd(page, "the end");
    await save(page);
    expect(await onDisk("big.txt")).toBe(`${line.repeat(20_000)}the end`);
  });
});

describe("previews", () => {
  it("show Markdown as it reads and images as pictures", async () => {
    const frame = page.frameLocator("iframe.webview.ready").frameLocator("#active-frame");
    await openFile(page, "README.md");
    await page.keyboard.press("Control+Shift+V");
    await frame.locator("h1", { hasText: "Calm otter" }).waitFor();
    await page.keyboard.press("Control+K");
    await page.keyboard.press("Control+W");
    const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    await writeFile(join(folder, "pixel.png"), Buffer.from(pixel, "base64"));
    await page.locator(".explorer-folders-view .monaco-list-row", { hasText: "pixel.png" }).dblclick();
    const image = frame.locator("img");
    await eventually("the image is drawn", () => image.isVisible());
  });
});

describe("terminals", () => {
  it("run commands in the workspace's folder, and come back with what they showed", async () => {
    await runInTerminal(page, "pwd; echo $((6 * 7))-answer");
    await untilTerminalShows(page, "42-answer");
    await untilTerminalShows(page, folder);
    await runInTerminal(page, "export KEPT=still-the-same-shell; echo ready-to-go");
    await untilTerminalShows(page, "\nready-to-go");
    await page.reload();
    await untilReady(page);
    await focusTerminal(page);
    await untilTerminalShows(page, "42-answer");
    await runInTerminal(page, "echo $KEPT");
    await untilTerminalShows(page, "\nstill-the-same-shell");
  });

  it("tell how they ended", async () => {
    await runInTerminal(page, "exit 3");
    // Of one that ends within half a second, which is a matter of the machine's speed, the editor says that it did not start.
    const told = /(terminated with exit code: 3|failed to launch \(exit code: 3\))/;
    await page.locator(".notification-list-item", { hasText: told }).waitFor();
  });

  it("go on through a lost connection", async () => {
    await runInTerminal(page, "for i in 1 2 3 4 5 6 7 8; do echo tick-$i; sleep 0.5; done");
    await untilTerminalShows(page, "tick-1");
    door.cut();
    await page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    door.restore();
    await untilTerminalShows(page, "tick-1\ntick-2\ntick-3\ntick-4\ntick-5\ntick-6\ntick-7\ntick-8");
  });
});

describe("losses", () => {
  it("typed text outlives a lost connection and can be saved after it", async () => {
    await openFile(page, "greet.ts");
    await typeAtEnd(page, "// before ");
    door.cut();
    await page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    await page.keyboard.type("and while lost");
    await page.keyboard.press("Control+S");
    door.restore();
    await page.locator(".tabs-container .tab.active.dirty").waitFor({ state: "detached" });
    expect(await onDisk("src/greet.ts")).toMatch(/\/\/ before and while lost$/);
  });

  it("typed text outlives a reload of the page", async () => {
    await openFile(page, "greet.ts");
    await typeAtEnd(page, "// never saved");
    await tab(page, "greet.ts").and(page.locator(".dirty")).waitFor();
    await untilBackedUp(page);
    await page.reload();
    await untilReady(page);
    await tab(page, "greet.ts").and(page.locator(".dirty")).waitFor();
    expect(await editorText(page)).toContain("// never saved");
    expect(await onDisk("src/greet.ts")).not.toContain("never saved");
  });

  it("a sleeping workspace is left asleep until it is wanted", async () => {
    door.workspace.state = "hibernated";
    door.cut({ keepApi: true });
    const item = page.locator(".statusbar-item", { hasText: "asleep" });
    await item.waitFor();
    expect(door.wakes).toBe(0);
    door.restore();
    await page.locator(".monaco-workbench .part.editor").click();
    await item.waitFor({ state: "detached" });
    expect(door.wakes).toBe(1);
  });
});

describe("search", () => {
  it("finds text in files and opens what it found", async () => {
    await page.keyboard.press("Control+Shift+F");
    await page.locator(".search-view textarea").first().fill("needle");
    await page.keyboard.press("Enter");
    const match = page.locator(".search-view .linematch", { hasText: "needle" });
    await match.click();
    await tab(page, "other.ts").waitFor();
  });

  it("stays in sight when the connection was lost and files changed meanwhile", async () => {
    await page.locator(".explorer-folders-view .monaco-list-row", { hasText: "README.md" }).waitFor();
    await page.keyboard.press("Control+Shift+F");
    await page.locator(".search-view textarea").first().waitFor();
    door.cut();
    await page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    await writeFile(join(folder, "made-meanwhile.txt"), "new\n");
    door.restore();
    await page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor({ state: "detached" });
    await openFile(page, "made-meanwhile.txt");
    expect(await page.locator(".search-view").isVisible()).toBe(true);
    await page.keyboard.press("Control+Shift+E");
    await page.locator(".explorer-folders-view .monaco-list-row", { hasText: "made-meanwhile.txt" }).waitFor();
  });
});

describe("source control", () => {
  it("shows, stages and commits a change", async () => {
    await writeFile(join(folder, "README.md"), "# Calm otter\n\nMore.\n");
    await showSourceControl(page);
    const row = changeRow(page, "README.md");
    await row.hover();
    await row.locator(".action-label[aria-label^='Stage Changes']").click();
    await eventually("it is staged", async () => git("diff", "--cached", "--name-only") === "README.md");
    await page.locator(".scm-view .resource-group", { hasText: "Staged Changes" }).waitFor();
    await commitStaged(page, "Say more");
    await eventually("it is committed", async () => git("log", "-1", "--format=%s") === "Say more");
    await row.waitFor({ state: "detached" });
    expect(git("status", "--porcelain")).toBe("");
  });

  it("offers to commit everything when nothing is staged", async () => {
    await writeFile(join(folder, "new file.txt"), "new\n");
    await showSourceControl(page);
    await changeRow(page, "new file.txt").waitFor();
    await commitStaged(page, "Add a file");
    await page.locator(".monaco-dialog-box .monaco-button", { hasText: "Yes" }).click();
    await eventually("it is committed", async () => git("log", "-1", "--format=%s") === "Add a file");
    expect(git("show", "--name-only", "--format=")).toBe("new file.txt");
  });

  it("compares a change with the index, beside the lines and side by side", async () => {
    await openFile(page, "greet.ts");
    await typeAtEnd(page, "// one more line\n");
    await page.locator(".dormouse-quick-diff-added").first().waitFor();
    await page.keyboard.press("Shift+Alt+F3");
    await runCommand(page, "Git: Revert Change at Cursor");
    await page.locator(".dormouse-quick-diff-added").first().waitFor({ state: "detached" });
    await page.keyboard.press("Control+Z");
    await save(page);
    await showSourceControl(page);
    await changeRow(page, "greet.ts").click();
    await page.locator(".monaco-diff-editor .line-insert").first().waitFor();
  });

  it("switches branches from the status bar and makes new ones", async () => {
    await page.locator(".statusbar-item", { hasText: "main" }).click();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "feature" }).click();
    await page.locator(".statusbar-item", { hasText: "feature" }).waitFor();
    expect(git("branch", "--show-current")).toBe("feature");
    await runCommand(page, "Git: Create Branch...");
    await page.locator(".quick-input-widget input[type=text]:visible").fill("from-the-page");
    await page.keyboard.press("Enter");
    await eventually("it is made", async () => git("branch", "--show-current") === "from-the-page");
  });

  it("pushes, and says what to do when the remote has more", async () => {
    const remote = `${folder}-remote.git`;
    execFileSync("git", ["clone", "-q", "--bare", folder, remote]);
    git("remote", "add", "origin", remote);
    git("fetch", "-q");
    git("branch", "-q", "--set-upstream-to=origin/main");
    git("commit", "-q", "--allow-empty", "-m", "Local");
    await page.locator(".statusbar-item", { hasText: "0↓ 1↑" }).waitFor();
    await runCommand(page, "Git: Push");
    await eventually("it is pushed", async () => git("rev-parse", "origin/main") === git("rev-parse", "main"));
    const theirs = git("--git-dir", remote, "commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}");
    git("--git-dir", remote, "update-ref", "refs/heads/main", theirs);
    git("commit", "-q", "--allow-empty", "-m", "Mine");
    await runCommand(page, "Git: Push");
    await page.locator(".notification-list-item .monaco-button", { hasText: "Pull" }).waitFor();
  });

  it("stages single lines, and a change of a comparison, and takes lines back out", async () => {
    const lines = Array.from({ length: 30 }, (_, index) => `line ${index + 1}`);
    await writeFile(join(folder, "lines.txt"), `${lines.join("\n")}\n`);
    git("add", ".");
    git("commit", "-qm", "Lines");
    const changed = lines.with(0, "ONE").with(1, "TWO").with(19, "TWENTY");
    await writeFile(join(folder, "lines.txt"), `${changed.join("\n")}\n`);
    const staged = () => git("diff", "--cached", "--unified=0").match(/^\+[A-Z]+$/gm) ?? [];
    await openFile(page, "lines.txt");
    await page.locator(".editor-group-container.active .monaco-editor .view-lines").first().click();
    await page.keyboard.press("Control+Home");
    await page.keyboard.press("ArrowDown");
    await runCommand(page, "Git: Stage Selected Ranges");
    await eventually("one line is staged", async () => staged().join() === "+TWO");
    await showSourceControl(page);
    await page.locator(".scm-view .resource-group", { hasText: "Staged Changes" }).waitFor();
    const comparison = page.locator(".editor-group-container.active .monaco-diff-editor");
    await changeRow(page, "lines.txt").last().click();
    await comparison.locator(".view-line", { hasText: "TWENTY" }).first().hover();
    await comparison.locator(".gutterItem .action-label[aria-label^='Stage Block']").last().click();
    await eventually("the change is staged", async () => staged().join() === "+TWO,+TWENTY");
    await changeRow(page, "lines.txt").first().click();
    await comparison.locator(".modified .view-line", { hasText: "TWO" }).first().click();
    await runCommand(page, "Git: Unstage Selected Ranges");
    await eventually("a line is no longer staged", async () => staged().join() === "+TWENTY");
  });

  it("tells who wrote a line and what was before, and settles conflicts", async () => {
    git("checkout", "-q", "feature");
    await writeFile(join(folder, "README.md"), "# Theirs\n");
    git("commit", "-qam", "Change the title");
    git("checkout", "-q", "main");
    await writeFile(join(folder, "README.md"), "# Ours\n");
    git("commit", "-qam", "Keep the title");
    await openFile(page, "README.md");
    await page.locator(".statusbar-item", { hasText: "Ada, just now" }).waitFor();
    await runCommand(page, "Git: Toggle Blame of This File");
    const column = `[...document.querySelectorAll(".editor-group-container.active .view-line span")]
      .map((span) => getComputedStyle(span, "::before").content).join()`;
    await eventually("each line says it", async () => String(await page.evaluate(column)).includes("Ada, just now"));
    await runCommand(page, "Git: View File History");
    const commit = page.locator(".timeline-tree-view .monaco-list-row", { hasText: "Keep the title" });
    await commit.click();
    await page.locator(".monaco-diff-editor .line-insert").first().waitFor();
    expect(() => git("merge", "-q", "feature")).toThrow();
    await runCommand(page, "View: Close All Editors");
    await openFile(page, "README.md");
    await page.locator(".codelens-decoration a", { hasText: "Accept Incoming Change" }).click();
    await eventually("the conflict is settled", async () => (await editorText(page)).includes("# Theirs"));
    await save(page);
    expect(await onDisk("README.md")).toBe("# Theirs\n");
  });

  it("puts changes away and brings them back, and checks out a pull request", async () => {
    const remote = `${folder}-remote.git`;
    execFileSync("git", ["clone", "-q", "--bare", folder, remote]);
    const request = git("commit-tree", "-p", "main", "-m", "Asked for", "main^{tree}");
    git("push", "-q", remote, `${request}:refs/pull/7/head`);
    git("remote", "add", "origin", remote);
    await writeFile(join(folder, "README.md"), "# Not now\n");
    await page.locator(".statusbar-item", { hasText: "main" }).waitFor();
    await runCommand(page, "Git: Stash");
    await page.locator(".quick-input-widget input[type=text]:visible").fill("for later");
    await page.keyboard.press("Enter");
    await eventually("all is put away", async () => git("status", "--porcelain") === "");
    expect(git("stash", "list")).toContain("for later");
    await runCommand(page, "Git: Checkout Pull Request...");
    await page.locator(".quick-input-widget input[type=text]:visible").fill("#7");
    await page.keyboard.press("Enter");
    await page.locator(".statusbar-item", { hasText: "pr/7" }).waitFor();
    expect(git("log", "-1", "--format=%s")).toBe("Asked for");
    await runCommand(page, "Git: Pop Latest Stash");
    await eventually("it is back", async () => (await onDisk("README.md")) === "# Not now\n");
  });
});

describe("everybody", () => {
  it("can use it: axe finds nothing serious in editor, source control and terminal", async () => {
    await openFile(page, "greet.ts");
    await typeAtEnd(page, "// more");
    await save(page);
    await runInTerminal(page, "echo ready-to-be-read");
    await untilTerminalShows(page, "\nready-to-be-read");
    await showSourceControl(page);
    await changeRow(page, "greet.ts").waitFor();
    expect(await accessibilityFaults(page, upstreamFaults)).toEqual([]);
  });
});

describe("the user's settings", () => {
  it("follow the user", async () => {
    await runCommand(page, "Preferences: Open User Settings (JSON)");
    await page.locator(".monaco-editor.focused", { hasText: "gpuAcceleration" }).waitFor();
    await page.keyboard.press("Control+A");
    await page.keyboard.insertText('{ "editor.fontSize": 19 }');
    await page.keyboard.press("Control+S");
    await eventually("they are saved for the user", async () => door.settings.settings.includes("19"));
  });
});
