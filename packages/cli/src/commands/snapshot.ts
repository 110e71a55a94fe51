import { formatBytes, formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { printJson, printLine } from "../output.ts";

export default function snapshot(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--name <name>", "a label; what has one is kept until it is deleted")
    .option("--json", "print the snapshot as JSON")
    .action(async (reference: string, options: { name?: string; json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const beganMs = performance.now();
      const made = await workspace.snapshot({ name: options.name });
      if (options.json) return printJson(made);
      const pause = made.pauseMs === null ? "" : `, stood still for ${formatDuration(made.pauseMs)}`;
      const took = formatDuration(performance.now() - beganMs);
      printLine(`${made.id} of ${workspace.name}: ${formatBytes(made.storedBytes)} new (${took}${pause}).`);
    });
}
