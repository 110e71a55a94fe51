import { DormouseError } from "@dormouse/base";
import { Connection, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { reportFailure } from "../exit.ts";
import { printLine } from "../output.ts";

export default function remove(command: Command): void {
  command
    .argument("<workspace...>", "names or ids")
    .option("--if-exists", "one that is not there is no failure")
    .action(async (references: string[], options: { ifExists?: boolean }) => {
      const connection = await Connection.open();
      // Each is tried: one that cannot be deleted does not keep the others.
      for (const reference of references) {
        try {
          await Workspace.kill(reference, { connection });
          printLine(`${reference} deleted.`);
        } catch (error) {
          const isGone = error instanceof DormouseError && error.code === "not_found";
          if (!(isGone && options.ifExists)) process.exitCode = reportFailure(error);
        }
      }
    });
}
