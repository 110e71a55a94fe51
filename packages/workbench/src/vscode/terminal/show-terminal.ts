import { StandaloneServices } from "@codingame/monaco-vscode-api";
import {
  ITerminalGroupService,
  ITerminalService,
} from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/terminal/browser/terminal.service";
import type { GuestTerminals } from "./backend.ts";

/** Shows a terminal that is in the machine already, unless a tab of it is there. */
export async function showTerminal(terminals: GuestTerminals, ptyId: string): Promise<void> {
  const target = await terminals.targetOf(ptyId);
  if (!target) return;
  const service = StandaloneServices.get(ITerminalService);
  const instance = await service.createTerminal({ config: { attachPersistentProcess: target } });
  service.setActiveInstance(instance);
  await StandaloneServices.get(ITerminalGroupService).showPanel(false);
}
