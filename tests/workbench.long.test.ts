// What `workbench.test.ts` leaves out for its time: each test loads the whole editor anew.
import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import {
  changeRow,
  commitStaged,
  editorText,
  openFile,
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
import { useWorkbench } from "./support/workbench-suite.ts";

const editor = useWorkbench();
const { git, onDisk } = editor;

describe("files", () => {
  it("that changed meanwhile are not overwritten without a question", async () => {
    await openFile(editor.page, "greet.ts");
    await typeAtEnd(editor.page, "// mine");
    await writeFile(
      join(editor.folder, "src/greet.ts"),
      "// theirs, and longer than before so that nobody mistakes it\n",
    );
    await editor.page.keyboard.press("Control+S");
    await editor.page.locator(".notification-list-item", { hasText: "content of the file is newer" }).waitFor();
    expect(await onDisk("src/greet.ts")).toContain("theirs");
  });

  it("of several megabytes go both ways whole", async () => {
    const line = `${"0123456789".repeat(9)}\n`;
    await writeFile(join(editor.folder, "big.txt"), line.repeat(20_000));
    await openFile(editor.page, "big.txt");
    await typeAtEnd(editor.page, "the end");
    await save(editor.page);
    expect(await onDisk("big.txt")).toBe(`${line.repeat(20_000)}the end`);
  });
});

describe("previews", () => {
  it("show Markdown as it reads and images as pictures", async () => {
    const frame = editor.page.frameLocator("iframe.webview.ready").frameLocator("#active-frame");
    await openFile(editor.page, "README.md");
    await editor.page.keyboard.press("Control+Shift+V");
    await frame.locator("h1", { hasText: "Calm otter" }).waitFor();
    await editor.page.keyboard.press("Control+K");
    await editor.page.keyboard.press("Control+W");
    const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    await writeFile(join(editor.folder, "pixel.png"), Buffer.from(pixel, "base64"));
    await editor.page.locator(".explorer-folders-view .monaco-list-row", { hasText: "pixel.png" }).dblclick();
    const image = frame.locator("img");
    await eventually("the image is drawn", () => image.isVisible());
  });
});

describe("terminals", () => {
  it("tell how they ended", async () => {
    await runInTerminal(editor.page, "exit 3");
    // Of one that ends within half a second, which is a matter of the machine's speed, the editor says that it did not start.
    const told = /(terminated with exit code: 3|failed to launch \(exit code: 3\))/;
    await editor.page.locator(".notification-list-item", { hasText: told }).waitFor();
  });

  it("go on through a lost connection", async () => {
    await runInTerminal(editor.page, "for i in 1 2 3 4 5 6 7 8; do echo tick-$i; sleep 0.5; done");
    await untilTerminalShows(editor.page, "tick-1");
    editor.door.cut();
    await editor.page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    editor.door.restore();
    await untilTerminalShows(editor.page, "tick-1\ntick-2\ntick-3\ntick-4\ntick-5\ntick-6\ntick-7\ntick-8");
  });
});

describe("losses", () => {
  it("typed text outlives a lost connection and can be saved after it", async () => {
    await openFile(editor.page, "greet.ts");
    await typeAtEnd(editor.page, "// before ");
    editor.door.cut();
    await editor.page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    await editor.page.keyboard.type("and while lost");
    await editor.page.keyboard.press("Control+S");
    editor.door.restore();
    await editor.page.locator(".tabs-container .tab.active.dirty").waitFor({ state: "detached" });
    expect(await onDisk("src/greet.ts")).toMatch(/\/\/ before and while lost$/);
  });

  it("typed text outlives a reload of the page", async () => {
    await openFile(editor.page, "greet.ts");
    await typeAtEnd(editor.page, "// never saved");
    await tab(editor.page, "greet.ts").and(editor.page.locator(".dirty")).waitFor();
    await untilBackedUp(editor.page);
    await editor.page.reload();
    await untilReady(editor.page);
    await tab(editor.page, "greet.ts").and(editor.page.locator(".dirty")).waitFor();
    expect(await editorText(editor.page)).toContain("// never saved");
    expect(await onDisk("src/greet.ts")).not.toContain("never saved");
  });

  it("a sleeping workspace is left asleep until it is wanted", async () => {
    editor.door.workspace.state = "hibernated";
    editor.door.cut({ keepApi: true });
    const item = editor.page.locator(".statusbar-item", { hasText: "asleep" });
    await item.waitFor();
    expect(editor.door.wakes).toBe(0);
    editor.door.restore();
    await editor.page.locator(".monaco-workbench .part.editor").click();
    await item.waitFor({ state: "detached" });
    expect(editor.door.wakes).toBe(1);
  });
});

describe("search", () => {
  it("stays in sight when the connection was lost and files changed meanwhile", async () => {
    await editor.page.locator(".explorer-folders-view .monaco-list-row", { hasText: "README.md" }).waitFor();
    await editor.page.keyboard.press("Control+Shift+F");
    await editor.page.locator(".search-view textarea").first().waitFor();
    editor.door.cut();
    await editor.page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor();
    await writeFile(join(editor.folder, "made-meanwhile.txt"), "new\n");
    editor.door.restore();
    await editor.page.locator(".statusbar-item", { hasText: "reconnecting" }).waitFor({ state: "detached" });
    await openFile(editor.page, "made-meanwhile.txt");
    expect(await editor.page.locator(".search-view").isVisible()).toBe(true);
    await editor.page.keyboard.press("Control+Shift+E");
    await editor.page.locator(".explorer-folders-view .monaco-list-row", { hasText: "made-meanwhile.txt" }).waitFor();
  });
});

describe("source control", () => {
  it("stages single lines, and a change of a comparison, and takes lines back out", async () => {
    const lines = Array.from({ length: 30 }, (_, index) => `line ${index + 1}`);
    await writeFile(join(editor.folder, "lines.txt"), `${lines.join("\n")}\n`);
    git("add", ".");
    git("commit", "-qm", "Lines");
    const changed = lines.with(0, "ONE").with(1, "TWO").with(19, "TWENTY");
    await writeFile(join(editor.folder, "lines.txt"), `${changed.join("\n")}\n`);
    const staged = () => git("diff", "--cached", "--unified=0").match(/^\+[A-Z]+$/gm) ?? [];
    await openFile(editor.page, "lines.txt");
    await editor.page.locator(".editor-group-container.active .monaco-editor .view-lines").first().click();
    await editor.page.keyboard.press("Control+Home");
    await editor.page.keyboard.press("ArrowDown");
    await runCommand(editor.page, "Git: Stage Selected Ranges");
    await eventually("one line is staged", async () => staged().join() === "+TWO");
    await showSourceControl(editor.page);
    await editor.page.locator(".scm-view .resource-group", { hasText: "Staged Changes" }).waitFor();
    const comparison = editor.page.locator(".editor-group-container.active .monaco-diff-editor");
    await changeRow(editor.page, "lines.txt").last().click();
    await comparison.locator(".view-line", { hasText: "TWENTY" }).first().hover();
    await comparison.locator(".gutterItem .action-label[aria-label^='Stage Block']").last().click();
    await eventually("the change is staged", async () => staged().join() === "+TWO,+TWENTY");
    await changeRow(editor.page, "lines.txt").first().click();
    await comparison.locator(".modified .view-line", { hasText: "TWO" }).first().click();
    await runCommand(editor.page, "Git: Unstage Selected Ranges");
    await eventually("a line is no longer staged", async () => staged().join() === "+TWENTY");
  });

  it("offers to commit everything when nothing is staged", async () => {
    await writeFile(join(editor.folder, "new file.txt"), "new\n");
    await showSourceControl(editor.page);
    await changeRow(editor.page, "new file.txt").waitFor();
    await commitStaged(editor.page, "Add a file");
    await editor.page.locator(".monaco-dialog-box .monaco-button", { hasText: "Yes" }).click();
    await eventually("it is committed", async () => git("log", "-1", "--format=%s") === "Add a file");
    expect(git("show", "--name-only", "--format=")).toBe("new file.txt");
  });

  it("compares a change with the index, beside the lines and side by side", async () => {
    await openFile(editor.page, "greet.ts");
    await typeAtEnd(editor.page, "// one more line\n");
    await editor.page.locator(".dormouse-quick-diff-added").first().waitFor();
    await editor.page.keyboard.press("Shift+Alt+F3");
    await runCommand(editor.page, "Git: Revert Change at Cursor");
    await editor.page.locator(".dormouse-quick-diff-added").first().waitFor({ state: "detached" });
    await editor.page.keyboard.press("Control+Z");
    await save(editor.page);
    await showSourceControl(editor.page);
    await changeRow(editor.page, "greet.ts").click();
    await editor.page.locator(".monaco-diff-editor .line-insert").first().waitFor();
  });

  it("switches branches from the status bar and makes new ones", async () => {
    await editor.page.locator(".statusbar-item", { hasText: "main" }).click();
    await editor.page.locator(".quick-input-list .monaco-list-row", { hasText: "feature" }).click();
    await editor.page.locator(".statusbar-item", { hasText: "feature" }).waitFor();
    expect(git("branch", "--show-current")).toBe("feature");
    await runCommand(editor.page, "Git: Create Branch...");
    await editor.page.locator(".quick-input-widget input[type=text]:visible").fill("from-the-page");
    await editor.page.keyboard.press("Enter");
    await eventually("it is made", async () => git("branch", "--show-current") === "from-the-page");
  });

  it("pushes, and says what to do when the remote has more", async () => {
    const remote = `${editor.folder}-remote.git`;
    execFileSync("git", ["clone", "-q", "--bare", editor.folder, remote]);
    git("remote", "add", "origin", remote);
    git("fetch", "-q");
    git("branch", "-q", "--set-upstream-to=origin/main");
    git("commit", "-q", "--allow-empty", "-m", "Local");
    await editor.page.locator(".statusbar-item", { hasText: "0↓ 1↑" }).waitFor();
    await runCommand(editor.page, "Git: Push");
    await eventually("it is pushed", async () => git("rev-parse", "origin/main") === git("rev-parse", "main"));
    const theirs = git("--git-dir", remote, "commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}");
    git("--git-dir", remote, "update-ref", "refs/heads/main", theirs);
    git("commit", "-q", "--allow-empty", "-m", "Mine");
    await runCommand(editor.page, "Git: Push");
    await editor.page.locator(".notification-list-item .monaco-button", { hasText: "Pull" }).waitFor();
  });

  it("puts changes away and brings them back, and checks out a pull request", async () => {
    const remote = `${editor.folder}-remote.git`;
    execFileSync("git", ["clone", "-q", "--bare", editor.folder, remote]);
    const request = git("commit-tree", "-p", "main", "-m", "Asked for", "main^{tree}");
    git("push", "-q", remote, `${request}:refs/pull/7/head`);
    git("remote", "add", "origin", remote);
    await writeFile(join(editor.folder, "README.md"), "# Not now\n");
    await editor.page.locator(".statusbar-item", { hasText: "main" }).waitFor();
    await runCommand(editor.page, "Git: Stash");
    await editor.page.locator(".quick-input-widget input[type=text]:visible").fill("for later");
    await editor.page.keyboard.press("Enter");
    await eventually("all is put away", async () => git("status", "--porcelain") === "");
    expect(git("stash", "list")).toContain("for later");
    await runCommand(editor.page, "Git: Checkout Pull Request...");
    await editor.page.locator(".quick-input-widget input[type=text]:visible").fill("#7");
    await editor.page.keyboard.press("Enter");
    await editor.page.locator(".statusbar-item", { hasText: "pr/7" }).waitFor();
    expect(git("log", "-1", "--format=%s")).toBe("Asked for");
    await runCommand(editor.page, "Git: Pop Latest Stash");
    await eventually("it is back", async () => (await onDisk("README.md")) === "# Not now\n");
  });
});

describe("the user's settings", () => {
  it("follow the user", async () => {
    await runCommand(editor.page, "Preferences: Open User Settings (JSON)");
    await editor.page.locator(".monaco-editor.focused", { hasText: "gpuAcceleration" }).waitFor();
    await editor.page.keyboard.press("Control+A");
    await editor.page.keyboard.insertText('{ "editor.fontSize": 19 }');
    await editor.page.keyboard.press("Control+S");
    await eventually("they are saved for the user", async () => editor.door.settings.settings.includes("19"));
  });
});

describe("egress", () => {
  it("that the repository asks for is allowed by a person", async () => {
    editor.door.egress.proposed = ["registry.example", "tcp:git.example:22"];
    await editor.page.reload();
    await untilReady(editor.page);
    const notice = editor.page.locator(".notification-list-item", {
      hasText: "asks to reach registry.example, tcp:git.example:22",
    });
    await notice.getByRole("button", { name: "Allow" }).click();
    await editor.page.locator(".notification-list-item", { hasText: "may reach registry.example" }).waitFor();
    expect(editor.door.egress.allowed).toEqual(["registry.example", "tcp:git.example:22"]);
  });
});
