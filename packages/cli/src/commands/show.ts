import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { printJson } from "../output.ts";
import { printProblem, printWorkspace } from "../workspace-view.ts";

export default function show(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--json", "print it as JSON")
    .action(async (reference: string, options: { json?: boolean }) => {
      const { info } = await Workspace.connect(reference);
      if (options.json) printJson(info);
      else {
        printWorkspace(info);
        printProblem(info);
      }
    });
}
