import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { paint, printJson, printLine } from "../output.ts";
import { paintState } from "../workspace-view.ts";

interface LogsOptions {
  console?: boolean;
  setup?: boolean;
  service?: string;
  json?: boolean;
}

export default function logs(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--console", "only the machine's console")
    .option("--setup", "only what images, features and lifecycle commands wrote")
    .option("--service <name>", "only what a service of its Compose file wrote")
    .option("--json", "print all of it as JSON")
    .action(async (reference: string, options: LogsOptions) => {
      const connection = await Connection.open();
      const printText = (text: string) => void process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
      if (options.service !== undefined) {
        const { service } = options;
        const { text } = await connection.api.workspaces.serviceLog({ workspace: reference, service });
        return options.json ? printJson({ text }) : printText(text);
      }
      const log = await connection.api.workspaces.logs({ workspace: reference });
      if (options.json) return printJson(log);
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
