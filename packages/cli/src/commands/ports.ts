import { Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { paint, printJson, printLine, printTable } from "../output.ts";

export default function ports(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .option("--json", "print the list as JSON")
    .action(async (reference: string, options: { json?: boolean }) => {
      const workspace = await Workspace.connect(reference);
      const listening = await workspace.ports.list();
      const named = workspace.info.devcontainer?.ports ?? [];
      const labelOf = (port: number) => named.find((each) => each.port === port)?.label ?? null;
      if (options.json) return printJson(listening.map((each) => ({ ...each, label: labelOf(each.port) })));
      if (listening.length === 0) return printLine(paint("dim", `Nothing listens in ${workspace.name}.`));
      printTable(
        ["PORT", "LABEL", "ADDRESS", "PROCESS", "PID"],
        listening.map(({ port, address, process, pid }) => [
          String(port),
          labelOf(port) ?? "-",
          address,
          process ?? "-",
          String(pid ?? "-"),
        ]),
      );
    });
}
