import { StandaloneServices } from "@codingame/monaco-vscode-api";
import {
  Disposable,
  DisposableStore,
  type IDisposable,
} from "@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle";
import type { ICodeEditor } from "@codingame/monaco-vscode-api/vscode/vs/editor/browser/editorBrowser";
import { ICodeEditorService } from "@codingame/monaco-vscode-api/vscode/vs/editor/browser/services/codeEditorService.service";
import { Range } from "@codingame/monaco-vscode-api/vscode/vs/editor/common/core/range";
import type { IChange } from "@codingame/monaco-vscode-api/vscode/vs/editor/common/diff/legacyLinesDiffComputer";
import {
  type IModelDecorationOptions,
  type IModelDeltaDecoration,
  type ITextModel,
  MinimapPosition,
  OverviewRulerLane,
} from "@codingame/monaco-vscode-api/vscode/vs/editor/common/model";
import { ModelDecorationOptions } from "@codingame/monaco-vscode-api/vscode/vs/editor/common/model/textModel";
import { themeColorFromId } from "@codingame/monaco-vscode-api/vscode/vs/platform/theme/common/themeService";
import { IQuickDiffModelService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/scm/browser/quickDiffModel.service";
import { ITextFileService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/textfile/common/textfiles.service";
import type { QuickDiffModel } from "@codingame/monaco-vscode-scm-service-override/vscode/vs/workbench/contrib/scm/browser/quickDiffModel";
import "./quick-diff-gutter.css";

/** The marks of all editors, and what the keyboard does with them. Each command acts on the editor in use. */
export interface QuickDiffGutter extends IDisposable {
  goToChange(direction: "next" | "previous"): void;
  /** Puts the lines around the cursor back to how git has them. */
  revertChange(): void;
}

/**
 * Marks changed lines beside the line numbers. The pinned version of VS Code's web
 * build computes them but lacks the part that draws them and walks through them.
 */
export function registerQuickDiffGutter(): QuickDiffGutter {
  const store = new DisposableStore();
  const editors = StandaloneServices.get(ICodeEditorService);
  const gutters = new Map<ICodeEditor, EditorGutter>();
  const add = (editor: ICodeEditor) => gutters.set(editor, new EditorGutter(editor));
  const active = () => {
    const editor = editors.getFocusedCodeEditor() ?? editors.getActiveCodeEditor();
    return editor && gutters.get(editor);
  };
  store.add(editors.onCodeEditorAdd(add));
  store.add(
    editors.onCodeEditorRemove((editor) => {
      gutters.get(editor)?.dispose();
      gutters.delete(editor);
    }),
  );
  for (const editor of editors.listCodeEditors()) add(editor);
  store.add({ dispose: () => gutters.forEach((gutter) => void gutter.dispose()) });
  return {
    goToChange: (direction) => active()?.goToChange(direction),
    revertChange: () => active()?.revertChange(),
    dispose: () => store.dispose(),
  };
}

/** The marks of one editor, for whatever file it shows. */
class EditorGutter extends Disposable {
  readonly #editor: ICodeEditor;
  readonly #ofModel = this._register(new DisposableStore());
  #diff: QuickDiffModel | undefined;

  constructor(editor: ICodeEditor) {
    super();
    this.#editor = editor;
    this._register(editor.onDidChangeModel(() => this.#attach()));
    // The file behind a model can be known later than the model itself.
    this._register(
      StandaloneServices.get(ITextFileService).files.onDidResolve(({ model }) => {
        if (model.resource.toString() === editor.getModel()?.uri.toString()) this.#attach();
      }),
    );
    this.#attach();
  }

  goToChange(direction: "next" | "previous"): void {
    const line = this.#editor.getPosition()?.lineNumber;
    if (!this.#diff || !line || this.#diff.changes.length === 0) return;
    const index =
      direction === "next"
        ? this.#diff.findNextClosestChange(line, false)
        : this.#diff.findPreviousClosestChange(line, false);
    const lineNumber = Math.max(this.#diff.changes[index]?.change.modifiedStartLineNumber ?? line, 1);
    this.#editor.setPosition({ lineNumber, column: 1 });
    this.#editor.revealLineInCenterIfOutsideViewport(lineNumber);
  }

  revertChange(): void {
    const line = this.#editor.getPosition()?.lineNumber;
    const model = this.#editor.getModel();
    const [original] = this.#diff?.originalTextModels ?? [];
    const found = this.#diff?.changes.find(
      ({ change: { modifiedStartLineNumber: start, modifiedEndLineNumber: end } }) =>
        line !== undefined && line >= start && line <= Math.max(start, end),
    );
    if (!model || !original || !found) return;
    this.#editor.pushUndoStop();
    this.#editor.executeEdits("dormouse.revertChange", [revertingEdit(found.change, original, model)]);
    this.#editor.pushUndoStop();
  }

  #attach(): void {
    this.#ofModel.clear();
    this.#diff = undefined;
    const model = this.#editor.getModel();
    if (model?.uri.scheme !== "file") return;
    const reference = StandaloneServices.get(IQuickDiffModelService).createQuickDiffModelReference(model.uri);
    if (!reference) return;
    const decorations = this.#editor.createDecorationsCollection();
    const draw = () =>
      decorations.set(
        reference.object.changes.map(({ change }): IModelDeltaDecoration => {
          const kind = kindOf(change);
          const isDeletion = kind === "deleted";
          const startLineNumber = Math.max(change.modifiedStartLineNumber, 1);
          const endLineNumber = isDeletion ? startLineNumber : Math.max(change.modifiedEndLineNumber, startLineNumber);
          const range = isDeletion
            ? { startLineNumber, startColumn: Number.MAX_VALUE, endLineNumber, endColumn: Number.MAX_VALUE }
            : { startLineNumber, startColumn: 1, endLineNumber, endColumn: 1 };
          return { range, options: looks[kind] };
        }),
      );
    this.#diff = reference.object;
    this.#ofModel.add(reference);
    this.#ofModel.add(reference.object.onDidChange(draw));
    this.#ofModel.add({ dispose: () => decorations.clear() });
    draw();
  }
}

type ChangeKind = "added" | "modified" | "deleted";

const looks: Readonly<Record<ChangeKind, IModelDecorationOptions>> = {
  added: look("added"),
  modified: look("modified"),
  deleted: look("deleted"),
};

/** A change ends at line 0 on the side that has no lines of it. */
function kindOf(change: IChange): ChangeKind {
  if (change.originalEndLineNumber === 0) return "added";
  return change.modifiedEndLineNumber === 0 ? "deleted" : "modified";
}

/** The edit of `modified` that undoes one change of it. */
function revertingEdit(change: IChange, original: ITextModel, modified: ITextModel) {
  const { originalStartLineNumber, originalEndLineNumber, modifiedStartLineNumber: start } = change;
  const end = change.modifiedEndLineNumber;
  const endOf = (line: number) => [line, modified.getLineMaxColumn(line)] as const;
  const eol = modified.getEOL();
  const lines: string[] = [];
  for (let line = originalStartLineNumber; line <= originalEndLineNumber; line++)
    lines.push(original.getLineContent(line));
  const text = lines.join(eol);
  switch (kindOf(change)) {
    case "modified":
      return { range: new Range(start, 1, ...endOf(end)), text };
    case "deleted":
      return start === 0
        ? { range: new Range(1, 1, 1, 1), text: text + eol }
        : { range: new Range(...endOf(start), ...endOf(start)), text: eol + text };
    case "added": {
      const isLast = end === modified.getLineCount();
      if (!isLast) return { range: new Range(start, 1, end + 1, 1), text: "" };
      const from = start > 1 ? endOf(start - 1) : ([1, 1] as const);
      return { range: new Range(...from, ...endOf(end)), text: "" };
    }
  }
}

function look(name: ChangeKind): ModelDecorationOptions {
  return ModelDecorationOptions.createDynamic({
    description: `dormouse-quick-diff-${name}`,
    isWholeLine: name !== "deleted",
    linesDecorationsClassName: `dormouse-quick-diff dormouse-quick-diff-${name}`,
    overviewRuler: {
      color: themeColorFromId(`editorOverviewRuler.${name}Foreground`),
      position: OverviewRulerLane.Left,
    },
    minimap: { color: themeColorFromId(`minimapGutter.${name}Background`), position: MinimapPosition.Gutter },
  });
}
