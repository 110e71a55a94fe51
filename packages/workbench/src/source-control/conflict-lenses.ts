import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import type { Api } from "../vscode/extension.ts";
import { type Conflict, findConflicts, type Resolution, resolveConflict } from "./conflicts.ts";
import type { GitReporter } from "./report.ts";

const titles: readonly [Resolution, string][] = [
  ["current", "Accept Current Change"],
  ["incoming", "Accept Incoming Change"],
  ["both", "Accept Both Changes"],
];

/** Conflicts are coloured in their files, and settled by a click or a command. */
export function registerConflictLenses(api: Api, reporter: GitReporter): vscode.Disposable {
  const side = (name: string, header: boolean) =>
    api.window.createTextEditorDecorationType({
      isWholeLine: true,
      backgroundColor: new api.ThemeColor(`merge.${name}${header ? "Header" : "Content"}Background`),
      overviewRulerColor: new api.ThemeColor(`editorOverviewRuler.${name}ContentForeground`),
      overviewRulerLane: api.OverviewRulerLane.Full,
    });
  const looks = {
    currentHeader: side("current", true),
    current: side("current", false),
    base: side("common", false),
    incoming: side("incoming", false),
    incomingHeader: side("incoming", true),
  };

  const drawn = new WeakSet<vscode.TextEditor>();
  const draw = (editor: vscode.TextEditor) => {
    if (editor.document.uri.scheme !== "file") return;
    const conflicts = findConflicts(linesOf(editor.document));
    if (conflicts.length === 0 && !drawn.delete(editor)) return;
    if (conflicts.length > 0) drawn.add(editor);
    const range = (start: number, end: number) => (end > start ? [new api.Range(start, 0, end - 1, 0)] : []);
    const set = (look: vscode.TextEditorDecorationType, of: (conflict: Conflict) => vscode.Range[]) =>
      editor.setDecorations(look, conflicts.flatMap(of));
    set(looks.currentHeader, ({ start }) => range(start, start + 1));
    set(looks.current, ({ start, base, middle }) => range(start + 1, base ?? middle));
    set(looks.base, ({ base, middle }) => (base === undefined ? [] : range(base, middle)));
    set(looks.incoming, ({ middle, end }) => range(middle + 1, end));
    set(looks.incomingHeader, ({ end }) => range(end, end + 1));
  };
  const drawAll = (document?: vscode.TextDocument) => {
    for (const editor of api.window.visibleTextEditors) if (!document || editor.document === document) draw(editor);
  };

  const provider: vscode.CodeLensProvider = {
    provideCodeLenses(document) {
      return findConflicts(linesOf(document)).flatMap(({ start }) =>
        titles.map(
          ([resolution, title]) =>
            new api.CodeLens(new api.Range(start, 0, start, 0), {
              title,
              command: "git.acceptConflict",
              arguments: [document.uri, start, resolution],
            }),
        ),
      );
    },
  };

  /** Settles one conflict, or all of the file. */
  const accept = async (document: vscode.TextDocument, which: (conflict: Conflict) => boolean, how: Resolution) => {
    const lines = linesOf(document);
    const edit = new api.WorkspaceEdit();
    const chosen = findConflicts(lines).filter(which);
    if (chosen.length === 0) throw new DormouseError("failed_precondition", "there is no conflict here");
    for (const conflict of chosen) {
      const text = resolveConflict(lines, conflict, how)
        .map((line) => `${line}\n`)
        .join("");
      const isLast = conflict.end + 1 >= document.lineCount;
      const end = isLast ? document.lineAt(conflict.end).range.end : new api.Position(conflict.end + 1, 0);
      edit.replace(document.uri, new api.Range(new api.Position(conflict.start, 0), end), text);
    }
    await api.workspace.applyEdit(edit);
  };
  const active = () => {
    const editor = api.window.activeTextEditor;
    if (!editor) throw new DormouseError("failed_precondition", "put the cursor into a conflict first");
    return editor;
  };
  const atCursor = (how: Resolution) => {
    const { document, selection } = active();
    const { line } = selection.active;
    return accept(document, ({ start, end }) => line >= start && line <= end, how);
  };

  const attempt = (work: () => Promise<void>) => reporter.attempt("Resolve Conflict", work);
  return api.Disposable.from(
    ...Object.values(looks),
    api.languages.registerCodeLensProvider({ scheme: "file" }, provider),
    api.window.onDidChangeVisibleTextEditors(() => drawAll()),
    api.workspace.onDidChangeTextDocument(({ document }) => drawAll(document)),
    api.commands.registerCommand("git.acceptConflict", (uri: vscode.Uri, start: number, how: Resolution) =>
      attempt(async () => {
        const document = await api.workspace.openTextDocument(uri);
        await accept(document, (conflict) => conflict.start === start, how);
      }),
    ),
    api.commands.registerCommand("git.acceptCurrent", () => attempt(() => atCursor("current"))),
    api.commands.registerCommand("git.acceptIncoming", () => attempt(() => atCursor("incoming"))),
    api.commands.registerCommand("git.acceptBoth", () => attempt(() => atCursor("both"))),
    api.commands.registerCommand("git.acceptAllCurrent", () =>
      attempt(() => accept(active().document, () => true, "current")),
    ),
    api.commands.registerCommand("git.acceptAllIncoming", () =>
      attempt(() => accept(active().document, () => true, "incoming")),
    ),
  );
}

/** The lines of a document that may have conflicts; of others none, since this is asked at every key. */
function linesOf(document: vscode.TextDocument): string[] {
  const text = document.getText();
  return text.includes("<<<<<<<") ? text.split("\n") : [];
}
