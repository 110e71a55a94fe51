import { formatBytes } from "@dormouse/base";
import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { printFields, printJson } from "../output.ts";

export default function quota(command: Command): void {
  command.option("--json", "print it as JSON").action(async (options: { json?: boolean }) => {
    const { workspaces, snapshotBytes } = await (await Connection.open()).api.me.quota({});
    if (options.json) return printJson({ workspaces, snapshotBytes });
    printFields([
      ["workspaces", share(workspaces, String)],
      ["snapshots", share(snapshotBytes, formatBytes)],
    ]);
  });
}

function share({ used, limit }: { used: number; limit: number | null }, format: (value: number) => string): string {
  return limit === null ? `${format(used)}, no limit` : `${format(used)} of ${format(limit)}`;
}
