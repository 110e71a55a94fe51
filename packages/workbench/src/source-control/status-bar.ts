import type * as vscode from "vscode";
import type { Repository } from "./repository.ts";

/** The branch and its distance from its upstream, for the status bar. */
export function statusBarCommands(repository: Repository, isBusy: boolean): vscode.Command[] {
  const { status, changes, sourceControl } = repository;
  if (!status) return [];
  const marks = [
    changes.workingTree.length > 0 || changes.untracked.length > 0 ? "*" : "",
    changes.index.length > 0 ? "+" : "",
    changes.merge.length > 0 ? "!" : "",
  ].join("");
  const icon = status.branch ? "git-branch" : "git-commit";
  const operation = status.operation ? ` (${status.operation})` : "";
  const branch: vscode.Command = {
    command: "git.checkout",
    title: `$(${icon}) ${repository.headName}${marks}${operation}`,
    tooltip: status.branch ? `Checkout branch or tag... (on ${status.branch})` : "Detached head; checkout a branch...",
    arguments: [sourceControl],
  };
  return [branch, ...syncCommand(repository, isBusy)];
}

function syncCommand({ status, sourceControl }: Repository, isBusy: boolean): vscode.Command[] {
  if (!status?.branch || !status.head) return [];
  if (isBusy) return [{ command: "", title: "$(sync~spin)", tooltip: "Synchronizing..." }];
  if (!status.upstream) {
    return [
      { command: "git.publish", title: "$(cloud-upload)", tooltip: "Publish Branch", arguments: [sourceControl] },
    ];
  }
  const distance = status.ahead + status.behind > 0 ? ` ${status.behind}↓ ${status.ahead}↑` : "";
  return [
    {
      command: "git.sync",
      title: `$(sync)${distance}`,
      tooltip: `Pull ${status.behind} and push ${status.ahead} commits between ${status.branch} and ${status.upstream}`,
      arguments: [sourceControl],
    },
  ];
}
