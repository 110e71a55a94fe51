import { DormouseError, formatBytes } from "@dormouse/base";
import { type Process, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { parseDuration } from "../duration.ts";
import { exitCodes, reportFailure } from "../exit.ts";
import { addVariable } from "../options.ts";
import { writeFully } from "../output.ts";

interface ExecFlags {
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  timeout?: string;
  interactive?: boolean;
}

export default function exec(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .argument("<command...>", "one word is a line for the shell, more are a program and its arguments")
    .option("-C, --cwd <path>", "folder in the machine; default the workspace's")
    .option("-e, --env <name=value>", "a variable for the command, may be given again", addVariable)
    .option("-u, --user <name>", "user of the machine")
    .option("-t, --timeout <time>", "end it after this, e.g. 30s; the exit code is then 124")
    .option("-i, --interactive", "pass standard input on also when it is a terminal")
    .usage("[options] <workspace> -- <command...>")
    .addHelpText(
      "after",
      "\nThe exit code is the command's. Ctrl-C reaches the command; twice within a second ends it.",
    )
    .action(async (reference: string, words: string[], flags: ExecFlags) => {
      const timeoutMs = flags.timeout === undefined ? undefined : parseDuration("--timeout", flags.timeout) * 1000;
      const workspace = await Workspace.connect(reference);
      try {
        process.exitCode = await runRemote(workspace, words, flags, timeoutMs);
      } catch (error) {
        // What cannot be started has the codes that shells give it.
        const isProgram = error instanceof DormouseError && error.details.stage === "exec";
        if (!isProgram) throw error;
        reportFailure(error);
        process.exitCode = error.code === "not_found" ? exitCodes.noProgram : exitCodes.notExecutable;
      } finally {
        workspace.close();
        // What nobody reads any more must not keep this program alive.
        process.stdin.destroy();
      }
    });
}

async function runRemote(workspace: Workspace, words: string[], flags: ExecFlags, timeoutMs: number | undefined) {
  const [line = "", ...rest] = words;
  const hasInput = flags.interactive === true || !process.stdin.isTTY;
  const remote = await workspace.exec(rest.length === 0 ? line : words, {
    cwd: flags.cwd,
    env: flags.env,
    user: flags.user,
    timeoutMs,
    stdin: hasInput,
    background: true,
  });
  const forwarding = forwardSignals(remote);
  if (hasInput) void pipeInput(remote);
  try {
    const result = await remote.wait({
      onStdout: (_text, bytes) => writeFully(process.stdout, bytes),
      onStderr: (_text, bytes) => writeFully(process.stderr, bytes),
      onLost: (bytes) =>
        process.stderr.write(
          `dormouse: ${formatBytes(bytes)} of output came faster than they were read and are lost\n`,
        ),
      onConnection: (state) => {
        if (state === "lost") process.stderr.write("dormouse: the connection was cut, connecting again …\n");
      },
    });
    return result.timedOut ? exitCodes.timedOut : result.exitCode;
  } finally {
    forwarding[Symbol.dispose]();
  }
}

async function pipeInput(remote: Process): Promise<void> {
  try {
    for await (const chunk of process.stdin) await remote.sendStdin(chunk as Uint8Array);
    await remote.closeStdin();
  } catch {
    // A command that reads no more, or has ended, says so by its exit code.
  }
}

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
const impatientMs = 1_000;
// One Ctrl-C may arrive twice: from the terminal, and passed on by whoever started this program.
const sameSignalMs = 50;

function forwardSignals(remote: Process): Disposable {
  let lastMs = Number.NEGATIVE_INFINITY;
  const listeners = forwarded.map((signal) => {
    const listener = () => {
      const sinceLastMs = performance.now() - lastMs;
      if (sinceLastMs < sameSignalMs) return;
      const isImpatient = signal === "SIGINT" && sinceLastMs < impatientMs;
      lastMs = performance.now();
      remote.kill(isImpatient ? "SIGKILL" : signal).catch(() => {
        // It ended at the same moment; its exit is on the way.
      });
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return {
    [Symbol.dispose]() {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    },
  };
}
