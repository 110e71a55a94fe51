import { formatBytes } from "@dormouse/base";
import { type Snapshot, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { paint, printJson, printLine, printTable } from "../output.ts";

export default function snapshots(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--delete <snapshot>", "delete the snapshot of this id")
    .option("--json", "print the timeline as JSON")
    .action(async (reference: string, options: { delete?: string; json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      if (options.delete !== undefined) {
        await workspace.deleteSnapshot(options.delete);
        return printLine(`Deleted ${options.delete}.`);
      }
      const timeline = await workspace.snapshots();
      if (options.json) return printJson(timeline);
      if (timeline.length === 0) return printLine(paint("dim", `${workspace.name} has no snapshots yet.`));
      printTable(
        ["SNAPSHOT", "TAKEN", "WHY", "REPOSITORY", "PROCESSES", "NEW", "PAUSE"],
        timeline.map((item) => [
          item.id,
          relativeTime(item.createdAt),
          item.name ?? item.reason,
          describeGit(item),
          item.processes === null ? "-" : String(item.processes),
          formatBytes(item.storedBytes),
          item.pauseMs === null ? "-" : `${item.pauseMs.toFixed(1)} ms`,
        ]),
      );
    });
}

function describeGit({ git }: Snapshot): string {
  if (!git) return "-";
  const where = git.branch ?? git.head?.slice(0, 9) ?? "no commit";
  return git.changedFiles === 0 ? where : `${where} +${git.changedFiles}`;
}
