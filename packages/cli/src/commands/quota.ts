import { Connection } from "@dormouse/sdk";
import type { Command } from "commander";
import { printFields, printJson } from "../output.ts";
import { allowanceFields } from "../quota-view.ts";

export default function quota(command: Command): void {
  command.option("--json", "print it as JSON").action(async (options: { json?: boolean }) => {
    const { organisations, ...own } = await (await Connection.open()).api.me.quota({});
    if (options.json) return printJson({ ...own, organisations });
    printFields([
      ...allowanceFields(own),
      ...organisations.flatMap(({ name, ...has }) => allowanceFields(has, `${name}: `)),
    ]);
  });
}
