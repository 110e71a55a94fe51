import { constants } from "node:os";
import { CommanderError } from "commander";
import { exitCodes, reportFailure } from "./exit.ts";
import { createProgram } from "./program.ts";

process.exitCode = await main(process.argv.slice(2));

/** Runs one command line and answers its exit code: 0 done, 1 failed, 2 wrong usage, or what the command says. */
async function main(args: readonly string[]): Promise<number> {
  endQuietlyOnClosedOutput();
  const program = await createProgram(args);
  try {
    await program.parseAsync(args, { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : exitCodes.ok;
  } catch (error) {
    // Commander has printed its message; help and version are no failures.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return reportFailure(error);
  }
}

/** `dormouse list | head` closes the pipe: that is no failure. */
function endQuietlyOnClosedOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
    throw error;
  });
}
