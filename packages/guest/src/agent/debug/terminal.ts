import { DormouseError } from "@dormouse/base";
import type { DebugSession as DebugSessionInfo, PtyInfo } from "@dormouse/contract";
import type { PtyService } from "../pty.ts";

/** A terminal of no page has this size until one shows it. */
const size = { cols: 120, rows: 30 };

/** Runs the program, and then a shell, so that what it wrote can still be read. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell that expands it.
const thenShell = 'trap : INT; "$@"; exec "${SHELL:-sh}"';

/**
 * Opens the terminal that an adapter asks for (`runInTerminal`) and starts its program in it. A page shows it when there is
 * one; the program does not wait for that.
 * @throws DormouseError as `pty.create` does, and `invalid_argument` for a request without a program.
 */
export async function openDebugTerminal(
  pty: PtyService,
  session: DebugSessionInfo,
  given: Readonly<Record<string, unknown>>,
): Promise<PtyInfo> {
  const args = Array.isArray(given.args) ? given.args.map(String) : [];
  if (args.length === 0) throw new DormouseError("invalid_argument", "args: the debugger named no program to run");
  const variables = Object.entries((given.env ?? {}) as Record<string, string | null>);
  const env = Object.fromEntries(variables.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  const removed = variables.flatMap(([name, value]) => (value === null ? ["-u", name] : []));
  const words = given.argsCanBeInterpretedByShell === true ? ["sh", "-c", args.join(" ")] : args;
  const command = removed.length > 0 ? ["env", ...removed, ...words] : words;
  const cwd = typeof given.cwd === "string" && given.cwd.startsWith("/") ? given.cwd : undefined;
  return pty.create({
    ...size,
    command: ["sh", "-c", thenShell, "sh", ...command],
    ...(cwd ? { cwd } : {}),
    env,
    title: typeof given.title === "string" && given.title ? given.title.slice(0, 200) : session.configuration.name,
  });
}
