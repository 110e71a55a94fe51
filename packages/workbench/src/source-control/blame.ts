import { DormouseError } from "@dormouse/base";
import type { GitBlame } from "@dormouse/contract";
import type * as vscode from "vscode";
import { toBase64 } from "../bytes.ts";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { ageOf } from "./age.ts";
import { describeCommit } from "./history.ts";
import type { GitReporter } from "./report.ts";
import type { Repository } from "./repository.ts";

/** A cursor that rests this long is worth a question. */
const restMs = 250;
/** Files of more lines are not blamed unless asked for. */
const maxLines = 20_000;
/** Width of the column beside the lines, in characters. */
const columnWidth = 36;

type Commit = GitBlame["commits"][number];

/** Who wrote the line under the cursor, in the status bar; of all lines, beside them, when the user asks. */
export interface BlameFeature extends vscode.Disposable {
  /** Something was committed, or another commit checked out. */
  invalidate(): void;
}

/** Registers it. */
export function registerBlame(options: {
  api: Api;
  channel: Channel;
  reporter: GitReporter;
  repositoryOf: (uri: vscode.Uri) => Repository | undefined;
}): BlameFeature {
  const { api, channel, reporter, repositoryOf } = options;
  const status = api.window.createStatusBarItem("git.blame", api.StatusBarAlignment.Right, 200);
  status.name = "Git Blame";
  const column = api.window.createTextEditorDecorationType({
    before: {
      color: new api.ThemeColor("editorCodeLens.foreground"),
      fontStyle: "normal",
      fontWeight: "normal",
      margin: "0 2ch 0 0",
      width: `${columnWidth}ch`,
    },
  });
  /** Of the version of a document that it was asked for. */
  const kept = new WeakMap<vscode.TextDocument, { version: number; blame: Promise<GitBlame | undefined> }>();
  const annotated = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const blameOf = (document: vscode.TextDocument): Promise<GitBlame | undefined> => {
    const known = kept.get(document);
    if (known?.version === document.version) return known.blame;
    const blame = readBlame(document);
    kept.set(document, { version: document.version, blame });
    return blame;
  };

  const readBlame = async (document: vscode.TextDocument): Promise<GitBlame | undefined> => {
    const repository = repositoryOf(document.uri);
    if (!repository) return undefined;
    const path = toGuestPath(document.uri.path.slice(repository.root.length + 1));
    // What is typed and not saved has lines of its own.
    const content = document.isDirty ? { content: toBase64(new TextEncoder().encode(document.getText())) } : {};
    try {
      return await channel.guest.git.blame({ cwd: repository.cwd, path, ...content });
    } catch (caught) {
      const error = DormouseError.from(caught);
      if (error.code !== "not_found") reporter.log(`blame of ${path}: ${error.message}`);
      return undefined;
    }
  };

  const show = async () => {
    const editor = api.window.activeTextEditor;
    if (editor?.document.uri.scheme !== "file" || editor.document.lineCount > maxLines) return status.hide();
    const { line } = editor.selection.active;
    const blame = await blameOf(editor.document);
    if (api.window.activeTextEditor !== editor || editor.selection.active.line !== line) return;
    if (!blame) return status.hide();
    const index = blame.lines[line];
    if (index === undefined) return status.hide();
    const commit = blame.commits[index];
    status.text = `$(git-commit) ${commit ? `${commit.author}, ${ageOf(commit.authoredMs, Date.now())}` : "Not committed yet"}`;
    status.tooltip = commit ? describeCommit(api, commit) : "This line is in no commit yet.";
    status.command = "git.toggleBlame";
    status.show();
    if (annotated.has(editor.document.uri.toString())) annotate(editor, blame);
  };

  const annotate = (editor: vscode.TextEditor, blame: GitBlame) => {
    const now = Date.now();
    // A last line without a character is none to git.
    const count = Math.min(blame.lines.length, editor.document.lineCount, maxLines);
    const decorations = Array.from({ length: count }, (_, line): vscode.DecorationOptions => {
      const index = blame.lines[line] ?? -1;
      const commit = blame.commits[index];
      // Lines of one commit after another are told once.
      const isFirst = line === 0 || index !== blame.lines[line - 1];
      const text = isFirst ? columnText(commit, now) : "";
      const at = new api.Position(line, 0);
      return {
        range: new api.Range(at, at),
        renderOptions: { before: { contentText: text.padEnd(columnWidth, "\u00a0") } },
        ...(commit ? { hoverMessage: describeCommit(api, commit) } : {}),
      };
    });
    editor.setDecorations(column, decorations);
  };

  const toggle = async () => {
    const editor = api.window.activeTextEditor;
    if (editor?.document.uri.scheme !== "file") {
      throw new DormouseError("failed_precondition", "put the cursor into a file of the repository first");
    }
    const key = editor.document.uri.toString();
    if (annotated.delete(key)) return editor.setDecorations(column, []);
    const blame = await blameOf(editor.document);
    if (!blame) throw new DormouseError("failed_precondition", "git does not know this file");
    annotated.add(key);
    annotate(editor, blame);
  };

  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void show(), restMs);
  };
  const registrations = api.Disposable.from(
    status,
    column,
    api.window.onDidChangeActiveTextEditor(soon),
    api.window.onDidChangeTextEditorSelection(soon),
    api.workspace.onDidSaveTextDocument(soon),
    api.commands.registerCommand("git.toggleBlame", () => reporter.attempt("Blame", toggle)),
    { dispose: () => clearTimeout(timer) },
  );
  return {
    invalidate() {
      for (const document of api.workspace.textDocuments) kept.delete(document);
      soon();
    },
    dispose: () => registrations.dispose(),
  };
}

function columnText(commit: Commit | undefined, nowMs: number): string {
  if (!commit) return "Not committed yet";
  const age = ageOf(commit.authoredMs, nowMs);
  const author = commit.author.slice(0, columnWidth - age.length - 2);
  return `${author}, ${age}`;
}
