import { StandaloneServices } from "@codingame/monaco-vscode-api";
import { IStorageService } from "@codingame/monaco-vscode-api/vscode/vs/platform/storage/common/storage.service";
import { IEditorService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/editor/common/editorService.service";

const settleMs = 500;

/**
 * Writes down which editors are open soon after that changes. The editor itself does so once a minute and when its page is
 * left, where a browser does not wait for it.
 */
export function keepOpenEditors(): void {
  const editors = StandaloneServices.get(IEditorService);
  const storage = StandaloneServices.get(IStorageService);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    clearTimeout(timer);
    // Of what cannot be stored, the next change is told the same.
    timer = setTimeout(() => void storage.flush().catch(() => {}), settleMs);
  };
  editors.onDidActiveEditorChange(soon);
  editors.onDidEditorsChange(soon);
}
