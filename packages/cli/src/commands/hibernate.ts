import { formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { printJson, printLine } from "../output.ts";

export default function hibernate(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--json", "print the workspace as JSON")
    .action(async (reference: string, options: { json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const beganMs = performance.now();
      const { info } = await workspace.hibernate();
      if (options.json) printJson(info);
      else printLine(`${info.name} is ${info.state} (${formatDuration(performance.now() - beganMs)}).`);
    });
}
