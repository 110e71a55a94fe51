import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { parseDuration, relativeTime } from "../duration.ts";
import { printJson, printLine } from "../output.ts";

export default function ttl(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .argument("<time>", "from now on, e.g. 2h; `none` keeps it")
    .option("--json", "print the workspace as JSON")
    .action(async (reference: string, time: string, options: { json?: boolean }) => {
      const ttlSeconds = time === "none" ? null : parseDuration("the time to live", time);
      const workspace = await Workspace.connect(reference);
      const { info } = await workspace.setTtl(ttlSeconds);
      if (options.json) return printJson(info);
      printLine(
        info.expiresAt === null
          ? `${info.name} is kept.`
          : `${info.name} is deleted ${relativeTime(info.expiresAt)}, at ${info.expiresAt}.`,
      );
    });
}
