import { DormouseError } from "@dormouse/base";
import { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { commands, findCommand } from "./commands/index.ts";

/** The program with every command's name and summary, and the one that is asked for in full: nothing else is loaded. */
export async function createProgram(args: readonly string[]): Promise<Command> {
  const program = new Command("dormouse")
    .description("Cloud development environments that open in a second and sleep when nobody looks.")
    .version(packageJson.version)
    .exitOverride()
    .showHelpAfterError("(--help shows how it is used)")
    .helpCommand("help [command]", "Show how a command is used")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "dormouse: ")) });
  const wanted = findCommand(args);
  for (const entry of commands) {
    const command = program.command(entry.name, { hidden: entry.hidden }).description(entry.summary);
    if (entry.alias) command.alias(entry.alias);
    if (entry === wanted) (await entry.load()).default(command);
    // What is not loaded is never run: its options are unknown, and help shows only its summary.
    else command.allowUnknownOption().action(() => notLoaded(entry.name));
  }
  return program;
}

function notLoaded(name: string): never {
  throw new DormouseError("internal", `command ${name} was not loaded`);
}
