import { type Complete, RootCommand } from "@bomb.sh/tab";
import { Workspace } from "@dormouse/sdk";
import type { Argument, Command } from "commander";
import { createProgram } from "../program.ts";

// Completion answers while somebody waits with a finger on the key.
const lookupMs = 1_500;

export default function complete(command: Command): void {
  command
    .argument("[words...]")
    .allowUnknownOption()
    .action(async (words: string[]) => {
      const program = await createProgram(words.slice(0, -1));
      const names = words.length > 1 ? await workspaceNames() : [];
      describeProgram(program, names).parse(words);
    });
}

function describeProgram(program: Command, names: readonly string[]): RootCommand {
  const root = new RootCommand();
  const visit = (command: Command, path: string) => {
    for (const child of program.createHelp().visibleCommands(command)) {
      const childPath = path ? `${path} ${child.name()}` : child.name();
      const described = root.command(childPath, child.summary() || child.description());
      for (const option of child.options) {
        const name = option.long?.slice(2);
        if (!name) continue;
        const alias = option.short?.slice(1);
        // A handler tells that the option takes a value; there is nothing to propose for it.
        if (option.required || option.optional) described.option(name, option.description, () => {}, alias);
        else described.option(name, option.description, alias);
      }
      for (const argument of child.registeredArguments) {
        described.argument(argument.name(), (propose) => proposeValues(argument, names, propose), argument.variadic);
      }
      visit(child, childPath);
    }
  };
  visit(program, "");
  return root;
}

function proposeValues(argument: Argument, names: readonly string[], propose: Complete): void {
  if (argument.name() === "workspace") for (const name of names) propose(name, "workspace");
  for (const choice of argument.argChoices ?? []) propose(choice, "");
}

async function workspaceNames(): Promise<string[]> {
  try {
    return (await Workspace.list({ requestTimeoutMs: lookupMs })).map(({ name }) => name);
  } catch {
    // Nobody can read an error in the middle of a command line: then there are no names to propose.
    return [];
  }
}
