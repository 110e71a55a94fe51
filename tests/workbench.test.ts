// The editor in a real browser, over the real agent on this host: files, terminals, source control, search, and losses.
import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { accessibilityFaults, upstreamFaults } from "./support/accessibility.ts";
import { eventually } from "./support/eventually.ts";
import { completes, goToPosition, hovers, marked } from "./support/languages-page.ts";
import {
  changeRow,
  commitStaged,
  editorText,
  focusTerminal,
  openFile,
  runCommand,
  runInTerminal,
  save,
  showSourceControl,
  tab,
  typeAtEnd,
  untilReady,
  untilTerminalShows,
} from "./support/workbench-page.ts";
import { useWorkbench } from "./support/workbench-suite.ts";

const editor = useWorkbench();
const { git, onDisk } = editor;

describe("files", () => {
  it("are opened, changed and saved on the machine", async () => {
    await openFile(editor.page, "greet.ts");
    expect(await editorText(editor.page)).toContain("export function greet");
    await typeAtEnd(editor.page, "// typed in the browser");
    await tab(editor.page, "greet.ts").and(editor.page.locator(".dirty")).waitFor();
    await save(editor.page);
    expect(await onDisk("src/greet.ts")).toMatch(/\/\/ typed in the browser$/);
  });

  it("that change on the machine change in the editor and in the explorer", async () => {
    await openFile(editor.page, "greet.ts");
    await writeFile(join(editor.folder, "src/greet.ts"), "// written by the machine\n");
    await eventually("the editor shows it", async () =>
      (await editorText(editor.page)).includes("written by the machine"),
    );
    await writeFile(join(editor.folder, "fresh.txt"), "");
    await editor.page.locator(".explorer-folders-view .monaco-list-row", { hasText: "fresh.txt" }).waitFor();
  });
});

describe("terminals", () => {
  it("run commands in the workspace's folder, and come back with what they showed", async () => {
    await runInTerminal(editor.page, "pwd; echo $((6 * 7))-answer");
    await untilTerminalShows(editor.page, "42-answer");
    await untilTerminalShows(editor.page, editor.folder);
    await runInTerminal(editor.page, "export KEPT=still-the-same-shell; echo ready-to-go");
    await untilTerminalShows(editor.page, "\nready-to-go");
    await editor.page.reload();
    await untilReady(editor.page);
    await focusTerminal(editor.page);
    await untilTerminalShows(editor.page, "42-answer");
    await runInTerminal(editor.page, "echo $KEPT");
    await untilTerminalShows(editor.page, "\nstill-the-same-shell");
  });
});

describe("search", () => {
  it("finds text in files and opens what it found", async () => {
    await editor.page.keyboard.press("Control+Shift+F");
    await editor.page.locator(".search-view textarea").first().fill("needle");
    await editor.page.keyboard.press("Enter");
    const match = editor.page.locator(".search-view .linematch", { hasText: "needle" });
    await match.click();
    await tab(editor.page, "other.ts").waitFor();
  });
});

describe("language servers", () => {
  it("explain, complete and mark, and are started again when they end", async () => {
    await writeFile(
      join(editor.folder, "src/use.ts"),
      'import { greet } from "./greet";\n\nexport const text: number = greet("Ada");\n\n',
    );
    await openFile(editor.page, "use.ts");
    await marked(editor.page, "error");
    await goToPosition(editor.page, 3, 30);
    await hovers(editor.page, "function greet(name: string): string");
    await goToPosition(editor.page, 4, 1);
    await completes(editor.page, "gre", "greet");
    const server = () =>
      execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" })
        .split("\n")
        .find((line) => line.includes("typescript/lib/tsc --lsp"))
        ?.trim()
        .split(" ")[0];
    const first = Number(server());
    process.kill(first, "SIGKILL");
    await eventually("another one runs", async () => ![undefined, String(first)].includes(server()));
    await goToPosition(editor.page, 3, 30);
    await hovers(editor.page, "function greet(name: string): string");
  });
});

describe("source control", () => {
  it("shows, stages and commits a change", async () => {
    await writeFile(join(editor.folder, "README.md"), "# Calm otter\n\nMore.\n");
    await showSourceControl(editor.page);
    const row = changeRow(editor.page, "README.md");
    await row.hover();
    await row.locator(".action-label[aria-label^='Stage Changes']").click();
    await eventually("it is staged", async () => git("diff", "--cached", "--name-only") === "README.md");
    await editor.page.locator(".scm-view .resource-group", { hasText: "Staged Changes" }).waitFor();
    await commitStaged(editor.page, "Say more");
    await eventually("it is committed", async () => git("log", "-1", "--format=%s") === "Say more");
    await row.waitFor({ state: "detached" });
    expect(git("status", "--porcelain")).toBe("");
  });

  it("tells who wrote a line and what was before, and settles conflicts", async () => {
    git("checkout", "-q", "feature");
    await writeFile(join(editor.folder, "README.md"), "# Theirs\n");
    git("commit", "-qam", "Change the title");
    git("checkout", "-q", "main");
    await writeFile(join(editor.folder, "README.md"), "# Ours\n");
    git("commit", "-qam", "Keep the title");
    await openFile(editor.page, "README.md");
    await editor.page.locator(".statusbar-item", { hasText: "Ada, just now" }).waitFor();
    await runCommand(editor.page, "Git: Toggle Blame of This File");
    const column = `[...document.querySelectorAll(".editor-group-container.active .view-line span")]
      .map((span) => getComputedStyle(span, "::before").content).join()`;
    await eventually("each line says it", async () =>
      String(await editor.page.evaluate(column)).includes("Ada, just now"),
    );
    await runCommand(editor.page, "Git: View File History");
    const commit = editor.page.locator(".timeline-tree-view .monaco-list-row", { hasText: "Keep the title" });
    await commit.click();
    await editor.page.locator(".monaco-diff-editor .line-insert").first().waitFor();
    expect(() => git("merge", "-q", "feature")).toThrow();
    await runCommand(editor.page, "View: Close All Editors");
    await openFile(editor.page, "README.md");
    await editor.page.locator(".codelens-decoration a", { hasText: "Accept Incoming Change" }).click();
    await eventually("the conflict is settled", async () => (await editorText(editor.page)).includes("# Theirs"));
    await save(editor.page);
    expect(await onDisk("README.md")).toBe("# Theirs\n");
  });
});

describe("everybody", () => {
  it("can use it: axe finds nothing serious in editor, source control and terminal", async () => {
    await openFile(editor.page, "greet.ts");
    await typeAtEnd(editor.page, "// more");
    await save(editor.page);
    await runInTerminal(editor.page, "echo ready-to-be-read");
    await untilTerminalShows(editor.page, "\nready-to-be-read");
    await showSourceControl(editor.page);
    await changeRow(editor.page, "greet.ts").waitFor();
    expect(await accessibilityFaults(editor.page, upstreamFaults)).toEqual([]);
  });
});
