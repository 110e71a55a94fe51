import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { paint, printJson, printLine } from "../output.ts";
import { paintState } from "../workspace-view.ts";

export default function logs(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--console", "only the machine's console")
    .option("--setup", "only what images, features and lifecycle commands wrote")
    .option("--json", "print all of it as JSON")
    .action(async (reference: string, options: { console?: boolean; setup?: boolean; json?: boolean }) => {
      const connection = await Connection.open();
      const log = await connection.api.workspaces.logs({ workspace: reference });
      if (options.json) return printJson(log);
      const printText = (text: string) => void process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
      if (options.setup || options.console) return printText(options.setup ? log.setup : log.console);
      for (const { at, state, reason } of log.transitions) {
        printLine(`${paint("dim", at)}  ${paintState(state)}${reason === null ? "" : `  ${reason}`}`);
      }
      for (const [title, text] of [["set-up", log.setup] as const, ["console", log.console] as const]) {
        if (text === "") continue;
        printLine(paint("dim", `── ${title} ──`));
        printText(text);
      }
    });
}
