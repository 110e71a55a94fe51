import { formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { printJson, printLine } from "../output.ts";

export default function restore(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .requiredOption("--to <snapshot>", "id or name of one of its snapshots")
    .option("--json", "print the workspace as JSON")
    .addHelpText("after", "\nWhat a running workspace is now is kept as a snapshot first.")
    .action(async (reference: string, options: { to: string; json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const beganMs = performance.now();
      const { info } = await workspace.restore(options.to);
      if (options.json) printJson(info);
      else printLine(`${info.name} is back at ${options.to} (${formatDuration(performance.now() - beganMs)}).`);
    });
}
