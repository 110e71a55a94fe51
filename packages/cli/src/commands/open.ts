import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { openInBrowser } from "../browser.ts";
import { printLine } from "../output.ts";

export default function open(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--print", "only print the address")
    .action(async (reference: string, options: { print?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      printLine(workspace.url);
      if (!options.print) await openInBrowser(workspace.url);
    });
}
