import { formatDuration } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { parseDuration } from "../duration.ts";
import { exitCodes, usageError } from "../exit.ts";
import { addVariable } from "../options.ts";
import { paint, printJson, printLine } from "../output.ts";

interface ForkFlags {
  count: string;
  from?: string;
  name?: string;
  ttl?: string;
  env?: Record<string, string>;
  json?: boolean;
}

export default function fork(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--count <number>", "how many", "1")
    .option("--from <snapshot>", "one of its snapshots, by id or name; default: as it is now")
    .option("--name <name>", "default: after the workspace; several get -1, -2 …")
    .option("--ttl <time>", "delete them after this, e.g. 1h, 2d; default: keep")
    .option("-e, --env <name=value>", "a variable for every new process, may be given again", addVariable)
    .option("--json", "print what became of each as JSON")
    .addHelpText("after", "\nForks go on with the workspace's processes and files, under names of their own.")
    .action(async (reference: string, flags: ForkFlags) => {
      if (!/^\d{1,6}$/.test(flags.count))
        throw usageError(`--count is ${JSON.stringify(flags.count)}: it must be a number`);
      const workspace = await Workspace.connect(reference);
      const beganMs = performance.now();
      const outcomes = await workspace.fork({
        count: Number(flags.count),
        snapshot: flags.from,
        name: flags.name,
        env: flags.env,
        ttlSeconds: flags.ttl === undefined ? undefined : parseDuration("--ttl", flags.ttl),
      });
      const failed = outcomes.filter((outcome) => outcome.error);
      if (failed.length > 0) process.exitCode = exitCodes.failed;
      if (flags.json) {
        return printJson(outcomes.map(({ workspace: made, error }) => (made ? { workspace: made.info } : { error })));
      }
      for (const { workspace: made, error } of outcomes) {
        if (made) printLine(`${paint("bold", made.name)}  ${made.url}`);
        else printLine(`${paint("red", "failed")}  ${error?.message}`);
      }
      const took = formatDuration(performance.now() - beganMs);
      printLine(
        paint("dim", `${outcomes.length - failed.length} of ${outcomes.length} forks of ${workspace.name} (${took}).`),
      );
    });
}
