import { constants } from "node:os";
import { type Terminal, Workspace } from "@dormouse/sdk";
import type { Command } from "commander";
import { createEscapeFilter } from "../escape.ts";
import { usageError } from "../exit.ts";

export default function shell(command: Command): void {
  command
    .argument("<workspace>", "name or id")
    .argument("[command...]", "a program instead of the login shell")
    .option("-C, --cwd <path>", "folder in the machine; default the workspace's")
    .option("-u, --user <name>", "user of the machine")
    .usage("[options] <workspace> [-- <command...>]")
    .addHelpText(
      "after",
      "\nAt the beginning of a line ~. ends the terminal, ~~ types a ~. A cut connection is taken up again.",
    )
    .action(async (reference: string, words: string[], flags: { cwd?: string; user?: string }) => {
      if (!process.stdin.isTTY || !process.stdout.isTTY) {
        throw usageError("a shell needs a terminal; for scripts there is `dormouse exec`");
      }
      const workspace = await Workspace.connect(reference);
      try {
        process.exitCode = await attach(workspace, words, flags);
      } finally {
        workspace.close();
      }
    });
}

async function attach(workspace: Workspace, words: string[], flags: { cwd?: string; user?: string }): Promise<number> {
  const { stdin, stdout } = process;
  const terminal = await workspace.pty.create({
    cols: Math.max(2, stdout.columns),
    rows: Math.max(1, stdout.rows),
    command: words.length > 0 ? words : undefined,
    cwd: flags.cwd,
    user: flags.user,
    // The machine knows the common ones only.
    env: {
      TERM: /^(xterm|screen|tmux|linux|vt100)/.test(process.env.TERM ?? "")
        ? (process.env.TERM ?? "")
        : "xterm-256color",
    },
    title: "dormouse shell",
    onData: (data) => stdout.write(data),
    onConnection: (state) =>
      stdout.write(state === "lost" ? "\r\n[connection cut, connecting again …]\r\n" : "[connected]\r\n"),
  });
  stdin.setRawMode(true);
  const detach = forwardInput(terminal);
  try {
    const { exitCode } = await terminal.wait();
    return exitCode;
  } finally {
    detach();
    stdin.setRawMode(false);
    stdin.pause();
  }
}

/** Keys and sizes go to the terminal, until it ends or the person ends it. */
function forwardInput(terminal: Terminal): () => void {
  const { stdin, stdout } = process;
  const isEscape = createEscapeFilter();
  const decoder = new TextDecoder();
  const ignoreCut = () => {
    // What is typed while the connection is cut is lost, as the notice on the screen tells.
  };
  const end = (exitCode: number) => {
    terminal.kill().catch(ignoreCut);
    stdin.setRawMode(false);
    stdout.write("\r\n[terminal ended]\r\n");
    // The reply may never come when the connection is cut: who asked to leave, leaves.
    setTimeout(() => process.exit(exitCode), 500).unref();
  };
  const onData = (chunk: Buffer) => {
    const { text, isEnd } = isEscape(decoder.decode(chunk, { stream: true }));
    if (text) terminal.sendInput(text).catch(ignoreCut);
    if (isEnd) end(0);
  };
  const onResize = () => {
    terminal.resize({ cols: Math.max(2, stdout.columns), rows: Math.max(1, stdout.rows) }).catch(ignoreCut);
  };
  const onHangUp = () => end(128 + constants.signals.SIGHUP);
  stdin.on("data", onData);
  stdout.on("resize", onResize);
  process.on("SIGHUP", onHangUp);
  process.on("SIGTERM", onHangUp);
  return () => {
    stdin.off("data", onData);
    stdout.off("resize", onResize);
    process.off("SIGHUP", onHangUp);
    process.off("SIGTERM", onHangUp);
  };
}
