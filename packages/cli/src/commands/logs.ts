import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { paint, printJson, printLine } from "../output.ts";
import { paintState } from "../workspace-view.ts";

export default function logs(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--console", "only the machine's console")
    .option("--json", "print both as JSON")
    .action(async (reference: string, options: { console?: boolean; json?: boolean }) => {
      const connection = await Connection.open();
      const log = await connection.api.workspaces.logs({ workspace: reference });
      if (options.json) return printJson(log);
      if (!options.console) {
        for (const { at, state, reason } of log.transitions) {
          printLine(`${paint("dim", at)}  ${paintState(state)}${reason === null ? "" : `  ${reason}`}`);
        }
        if (log.console) printLine(paint("dim", "── console ──"));
      }
      if (log.console) process.stdout.write(log.console.endsWith("\n") ? log.console : `${log.console}\n`);
    });
}
