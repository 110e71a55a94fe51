import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { relativeTime } from "../duration.ts";
import { printJson, printTable } from "../output.ts";

export default function template(command: Command): void {
  command
    .command("list")
    .description("List the templates that workspaces start from")
    .option("--json", "print the list as JSON")
    .action(async (options: { json?: boolean }) => {
      const connection = await Connection.open();
      const { templates } = await connection.api.templates.list({});
      if (options.json) return printJson(templates);
      printTable(
        ["NAME", "VCPUS", "MEMORY", "DISK", "CREATED"],
        templates.map(({ name, resources, createdAt }) => [
          name,
          String(resources.vcpus),
          `${resources.memoryMib} MiB`,
          `${resources.diskGib} GiB`,
          relativeTime(createdAt),
        ]),
      );
    });
}
