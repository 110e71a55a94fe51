import type * as vscode from "vscode";
import type { Api } from "../vscode/extension.ts";
import { changeLooks, groupIds } from "./changes.ts";
import type { Repository } from "./repository.ts";

/** Letters and colours of changed files in the explorer and on tabs. */
export interface Decorations extends vscode.Disposable {
  update(repositories: Iterable<Repository>): void;
}

/** Registers the decorations, empty until their first update. */
export function registerDecorations(api: Api): Decorations {
  let decorations = new Map<string, vscode.FileDecoration>();
  const changed = new api.EventEmitter<vscode.Uri[]>();
  const registration = api.window.registerFileDecorationProvider({
    onDidChangeFileDecorations: changed.event,
    provideFileDecoration: (uri) => (uri.scheme === "file" ? decorations.get(uri.path) : undefined),
  });

  const decorate = (repositories: Iterable<Repository>) => {
    const next = new Map<string, vscode.FileDecoration>();
    for (const repository of repositories) {
      // Later groups win: what lies in the worktree says more than what is staged.
      for (const group of [...groupIds].reverse()) {
        for (const change of repository.changes[group]) {
          const look = changeLooks[change.kind];
          const { path } = repository.uriOf(change.path.replace(/\/$/, ""));
          if (next.has(path)) continue;
          const decoration = new api.FileDecoration(look.letter, look.tooltip, new api.ThemeColor(look.color));
          // A deleted file is not there to lead to.
          decoration.propagate = !look.isDeleted;
          next.set(path, decoration);
        }
      }
    }
    return next;
  };

  return {
    update(repositories) {
      const before = decorations;
      decorations = decorate(repositories);
      const paths = new Set([...before.keys(), ...decorations.keys()]);
      const moved = [...paths].filter((path) => before.get(path)?.tooltip !== decorations.get(path)?.tooltip);
      if (moved.length > 0) changed.fire(moved.map((path) => api.Uri.file(path)));
    },
    dispose() {
      registration.dispose();
      changed.dispose();
    },
  };
}
