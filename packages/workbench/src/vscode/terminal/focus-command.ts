import { CommandsRegistry } from "@codingame/monaco-vscode-api/vscode/vs/platform/commands/common/commands";
import { IInstantiationService } from "@codingame/monaco-vscode-api/vscode/vs/platform/instantiation/common/instantiation";
import { ITerminalService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/terminal/browser/terminal.service";

const focusCommand = "workbench.action.terminal.focus";

/**
 * Lets "Focus Terminal" wait until the terminals of an earlier page are back. The editor's own command makes a new
 * terminal where it finds none, and the keys that follow would go into that one instead of the one that comes back.
 */
export function waitForRestoredTerminals(): void {
  const original = CommandsRegistry.getCommand(focusCommand);
  // Another version of the editor may have renamed it: then it does what it does there.
  if (!original) return;
  CommandsRegistry.registerCommand(focusCommand, async (accessor, ...args) => {
    const instantiation = accessor.get(IInstantiationService);
    await accessor.get(ITerminalService).whenConnected;
    return instantiation.invokeFunction(original.handler, ...args);
  });
}
