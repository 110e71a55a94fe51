import { formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { parseDuration } from "../duration.ts";
import { printJson, printLine } from "../output.ts";

export default function idle(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .argument("<time>", "how long it may be idle before it is put to sleep, e.g. 10m; `never` keeps it awake")
    .option("--json", "print the workspace as JSON")
    .action(async (reference: string, time: string, options: { json?: boolean }) => {
      const seconds = time === "never" ? null : parseDuration("the time to be idle", time);
      const workspace = await Workspace.connect(reference);
      const { info } = await workspace.setHibernateAfter(seconds);
      if (options.json) return printJson(info);
      const { name, hibernateAfterSeconds } = info;
      printLine(
        hibernateAfterSeconds === null
          ? `${name} is put to sleep only when it is asked for.`
          : `${name} is put to sleep after ${formatDuration(hibernateAfterSeconds * 1000)} of idling.`,
      );
    });
}
