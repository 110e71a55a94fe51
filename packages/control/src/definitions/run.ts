import { DormouseError, formatDuration } from "@dormouse/base";
import { type GuestClient, remote } from "../host/client.ts";

/** How {@link runLogged} runs a command in a machine. */
export interface RunLogged {
  guest: GuestClient;
  /** As people know it, for errors. */
  what: string;
  command: string[];
  cwd: string;
  user: string;
  env: Record<string, string>;
  timeoutMs: number;
  /** Each line that it writes. */
  onLine: (line: string) => void;
  /** Which of them say why it failed, should it fail; default: all. */
  isTelling?: (line: string) => boolean;
  signal: AbortSignal;
}

/** In every machine, whatever its image has. */
export const busybox = "/run/dormouse/tools/bin/busybox";

/** Kept for the error; the rest is in the log. */
const tailLines = 20;
const lineCharacters = 500;

/**
 * Runs a command to its end and passes on what it writes.
 * @throws DormouseError `failed_precondition` when it fails or takes too long, with its last lines.
 */
export async function runLogged(options: RunLogged): Promise<void> {
  const { guest, what, command, cwd, user, env, timeoutMs, onLine, signal } = options;
  const input = { command, cwd, user, env, timeoutMs };
  const { processId } = await remote(guest.exec.start(input, { signal }));
  const tail: string[] = [];
  const lines = lineSplitter((line) => {
    if (options.isTelling?.(line) ?? true) tail.push(line);
    if (tail.length > tailLines) tail.shift();
    onLine(line);
  });
  const end = () => remote(guest.exec.signal({ processId, signal: "SIGKILL" }));
  try {
    for await (const event of await remote(guest.exec.attach({ processId }, { signal }))) {
      if (event.type === "lost") continue;
      if (event.type !== "exit") {
        lines.add(event.data);
        continue;
      }
      lines.end();
      if (event.exitCode === 0 && !event.timedOut) return;
      const why = event.timedOut
        ? `took longer than ${formatDuration(timeoutMs)} and was ended`
        : `ended with code ${event.exitCode}`;
      const said = tail.length === 0 ? "" : `: ${tail.slice(-3).join(" | ").slice(-lineCharacters)}`;
      throw new DormouseError("failed_precondition", `${what} ${why}${said}`, { details: { tail } });
    }
    throw new DormouseError("unavailable", `the machine went away while ${what} ran`);
  } catch (error) {
    if (signal.aborted) await end().catch(() => {});
    throw error;
  }
}

/** Puts pieces of base64 together to lines of text. */
function lineSplitter(onLine: (line: string) => void) {
  const decoder = new TextDecoder();
  let rest = "";
  const take = (text: string) => {
    // What redraws itself on one line, such as a progress bar, counts as lines.
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") onLine(line);
    if (rest.length > lineCharacters) {
      onLine(rest);
      rest = "";
    }
  };
  return {
    add: (base64: string) => take(decoder.decode(Buffer.from(base64, "base64"), { stream: true })),
    end: () => take("\n"),
  };
}
