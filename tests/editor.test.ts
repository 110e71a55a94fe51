// The main job in a real browser on the whole platform: sign in, edit, save, terminal, commit; and what survives when
// parts of the platform die under an open editor.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { accessibilityFaults } from "./support/accessibility.ts";
import { dormouse } from "./support/dormouse.ts";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";
import {
  changeRow,
  commitStaged,
  editorText,
  launchBrowser,
  newPage,
  openFile,
  openWorkbench,
  patienceMs,
  runCommand,
  runInTerminal,
  save,
  showSourceControl,
  tab,
  typeAtEnd,
  untilReady,
  untilTerminalShows,
} from "./support/workbench-page.ts";

// Pictures are kept where the environment asks for them: docs/ shows these.
const pictures = process.env.DORMOUSE_PICTURES;

let platform: TestPlatform;
let browser: Browser;
let page: Page;
let folder: string;
const problems: string[] = [];

beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 1 });
  // Read from the page, which a terminal drawn on a canvas would not allow.
  await fetch(`${platform.url}/api/me/settings`, {
    method: "PUT",
    headers: { authorization: `Bearer ${platform.apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ settings: '{ "terminal.integrated.gpuAcceleration": "off" }' }),
  });
  folder = await mkdtemp(join(tmpdir(), "dormouse-editor-"));
  await makeRepository(join(folder, "nuts"));
  const created = await dormouse(platform, ["create", join(folder, "nuts")]);
  expect(created.exitCode, created.stderr).toBe(0);
  browser = await launchBrowser();
  page = await newPage(browser, problems);
});
afterAll(async () => {
  await browser?.close();
  await platform?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function makeRepository(path: string): Promise<void> {
  await run("git", ["init", "-q", "-b", "main", path]);
  await writeFile(join(path, "README.md"), "# Nuts\n\nHow many are left?\n");
  await writeFile(
    join(path, "count.ts"),
    "export function count(nuts: string[]): number {\n  return nuts.length;\n}\n",
  );
  await run("git", ["-C", path, "config", "user.name", "Ada"]);
  await run("git", ["-C", path, "config", "user.email", "ada@example.test"]);
  await run("git", ["-C", path, "add", "."]);
  await run("git", ["-C", path, "commit", "-qm", "Count nuts"]);
}

async function picture(name: string): Promise<void> {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`) });
}

const inMachine = async (...command: string[]) => (await dormouse(platform, ["exec", "nuts", "--", ...command])).stdout;

describe("a person", () => {
  it("signs in once with the link, and only once", async () => {
    const link = await platform.platform.createSignInLink("/");
    await page.goto(link);
    await page.getByText("nuts", { exact: true }).first().waitFor();
    expect(page.url()).not.toContain("token");
    expect(await accessibilityFaults(page)).toEqual([]);
    await picture("workspaces");
    const stranger = await newPage(browser);
    await stranger.goto(link);
    await stranger
      .getByText(/used already|too old/)
      .first()
      .waitFor();
    await stranger.goto(`${platform.url}/w/nuts`);
    await stranger.waitForURL(/signin/);
    await stranger.getByRole("button").first().waitFor();
    expect(await accessibilityFaults(stranger)).toEqual([]);
    await stranger.context().close();
  });

  it("opens a file, types and saves, and the machine has it", async () => {
    await openWorkbench(page, `${platform.url}/w/nuts`);
    await openFile(page, "count.ts");
    await typeAtEnd(page, "\nexport const winter = true;");
    await save(page);
    expect(await inMachine("cat", "count.ts")).toContain("export const winter = true;");
  });

  it("runs a command in the terminal", async () => {
    await runInTerminal(page, "echo $((6*7)) on $(uname -r) && git status --short");
    await untilTerminalShows(page, "M count.ts");
    await picture("editor");
  });

  it("stages and commits, and git log has it", async () => {
    await showSourceControl(page);
    await changeRow(page, "count.ts").first().waitFor();
    await picture("source-control");
    await runCommand(page, "Git: Stage All Changes");
    await commitStaged(page, "Winter is here");
    await eventually(
      "git log has the commit",
      async () => (await inMachine("git", "log", "-1", "--format=%an: %s")).includes("Ada: Winter is here"),
      patienceMs,
    );
    expect(await inMachine("git", "status", "--short")).toBe("");
  });
});

describe("an open editor", () => {
  it("survives the host daemon: machine, terminal with scrollback, unsaved text", async () => {
    await openFile(page, "README.md");
    await typeAtEnd(page, "typed before the end");
    await runInTerminal(page, "echo scrollback-$((1000+234))");
    await untilTerminalShows(page, "scrollback-1234");
    const bootId = await inMachine("cat", "/proc/sys/kernel/random/boot_id");
    await kill("host");
    await eventually(
      "the machine answers again",
      async () => (await inMachine("cat", "/proc/sys/kernel/random/boot_id")) === bootId,
      patienceMs,
    );
    await runInTerminal(page, "echo again-$((2000+345))");
    await untilTerminalShows(page, "again-2345");
    await untilTerminalShows(page, "scrollback-1234");
    await tab(page, "README.md").click();
    expect(await editorText(page)).toContain("typed before the end");
    await save(page);
    expect(await inMachine("cat", "README.md")).toContain("typed before the end");
  });

  it("survives the gateway with what is typed meanwhile", async () => {
    await openFile(page, "README.md");
    const dead = kill("gateway");
    await typeAtEnd(page, "\ntyped while it was away");
    await dead;
    expect(await editorText(page)).toContain("typed while it was away");
    await eventually(
      "it can be saved again",
      async () => {
        await page.keyboard.press("Control+S");
        return (await inMachine("cat", "README.md")).includes("typed while it was away");
      },
      patienceMs,
    );
  });

  it("finds its terminals and files after a reload", async () => {
    await page.reload();
    await untilReady(page);
    await tab(page, "README.md").waitFor();
    await untilTerminalShows(page, "again-2345");
  });

  it("keeps moments, and goes back to one", async () => {
    await runCommand(page, "Dormouse: Take Snapshot");
    await page.keyboard.type("before the storm");
    await page.keyboard.press("Enter");
    await page.locator(".notification-list-item", { hasText: "Snapshot taken: before the storm" }).waitFor();
    await inMachine("sh", "-c", "echo gone > README.md");
    await runCommand(page, "Dormouse: Show Timeline");
    const moment = page.locator(".quick-input-list .monaco-list-row", { hasText: "before the storm" });
    await moment.waitFor();
    await picture("timeline");
    await moment.click();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "Go Back to This Moment" }).click();
    await page.locator(".monaco-dialog-box").getByRole("button", { name: "Go Back" }).click();
    // The page finds out by itself, and says what became of its machine.
    await page.locator(".notification-list-item", { hasText: "it goes on from its snapshot" }).waitFor();
    await eventually(
      "the file is what it was",
      async () => (await inMachine("cat", "README.md")).includes("typed while it was away"),
      patienceMs,
    );
    await runCommand(page, "Terminal: Focus Terminal");
    await untilTerminalShows(page, "again-2345");
  });

  it("says when its machine was killed, and what can be done", async () => {
    const { machines } = await platform.hostCall<{ machines: { pid: number }[] }>("machines/list", {});
    process.kill(machines[0]?.pid ?? 0, "SIGKILL");
    const notice = page
      .locator(".notifications-toasts .notification-toast, .monaco-dialog-box")
      .filter({ hasText: /failed|ended|killed/i });
    await notice.first().waitFor();
    await picture("machine-killed");
    await notice
      .getByRole("button", { name: /start again|restart|recover|wake|retry/i })
      .first()
      .click();
    await eventually(
      "it runs again",
      async () => {
        const workspace = await Workspace.connect("nuts", { connection: platform.connection });
        return workspace.state === "running";
      },
      patienceMs,
    );
    expect(await inMachine("cat", "README.md")).toContain("typed while it was away");
  });

  it("had no fault of its own meanwhile", () => {
    expect(problems).toEqual([]);
  });
});

async function kill(name: "host" | "gateway"): Promise<void> {
  const service = platform.platform.services[name];
  const before = service.pid;
  if (before === undefined) throw new Error(`${name} does not run`);
  process.kill(before, "SIGKILL");
  await eventually(`${name} runs again`, async () => service.pid !== undefined && service.pid !== before);
}
