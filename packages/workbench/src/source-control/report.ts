import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import type { Api } from "../vscode/extension.ts";

/** Tells the user what git refused, in one line and with what can be done about it. */
export interface GitReporter extends vscode.Disposable {
  /** Runs a command's work; a failure is shown and gives undefined. */
  attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined>;
  log(line: string): void;
  show(): void;
}

/** Why git refused, from the error's details; see `gitReasons` of the contract. */
export function reasonOf(caught: unknown): string | undefined {
  const { reason } = DormouseError.from(caught).details;
  return typeof reason === "string" ? reason : undefined;
}

const remedies: Readonly<Record<string, { label: string; command: string }>> = {
  authentication: { label: "Open Terminal", command: "workbench.action.terminal.new" },
  rejected: { label: "Pull", command: "git.pull" },
  no_upstream: { label: "Publish Branch", command: "git.publish" },
  conflict: { label: "Show Conflicts", command: "workbench.view.scm" },
};

/** A reporter with its own output channel. */
export function gitReporter(api: Api): GitReporter {
  const output = api.window.createOutputChannel("Git");
  const log = (line: string) => output.appendLine(`${new Date().toISOString()} ${line}`);
  return {
    async attempt(what, work) {
      try {
        return await work();
      } catch (caught) {
        if (caught instanceof api.CancellationError) return undefined;
        const error = DormouseError.from(caught);
        log(`${what}: ${error.message}`);
        const remedy = remedies[reasonOf(error) ?? ""];
        const buttons = [...(remedy ? [remedy.label] : []), "Show Output"];
        // The message stays until it is answered; the command it belongs to is over.
        void api.window.showErrorMessage(`${what}: ${error.message}`, ...buttons).then((chosen) => {
          if (chosen === "Show Output") output.show();
          else if (chosen && remedy) void api.commands.executeCommand(remedy.command);
        });
        return undefined;
      }
    },
    log,
    show: () => output.show(),
    dispose: () => output.dispose(),
  };
}
