import { DormouseError } from "@dormouse/base";
import type { ExecResult } from "@dormouse/contract";
import { toBase64, toBytes } from "./bytes.ts";
import type { Channel } from "./channel.ts";
import type { GuestClient } from "./connection.ts";
import { type FollowProcessOptions, Process } from "./process.ts";

/** A command line for the user's shell, or a program and its arguments without one. */
export type Command = string | readonly string[];

/** How a command runs. */
export interface ExecOptions extends FollowProcessOptions {
  /** Default: the workspace's folder. */
  cwd?: string;
  env?: Record<string, string>;
  /** A user of the machine by name; default is the image's user. */
  user?: string;
  /** The process and its children are killed after this; the result says `timedOut`. Default: no limit. */
  timeoutMs?: number;
  /** What it reads, to its end. With `background: true`, `true` keeps the input open for `sendStdin`. */
  stdin?: string | Uint8Array | boolean;
  /** Answer with the running process instead of its result. */
  background?: boolean;
  /** Without `background`: kills the command and rejects with `cancelled`. */
  signal?: AbortSignal;
}

/** Where a command runs. */
export interface ExecTarget {
  guest: GuestClient;
  channel: Channel;
}

// What ends within this takes one round trip; what goes on is attached to.
const quickMs = 30_000;
const answerMarginMs = 30_000;

/**
 * Runs a command to its end. A non-zero exit code and a time-out are results, not
 * errors. With callbacks output is streamed, and goes on after a cut connection.
 */
export async function execute(target: ExecTarget, command: Command, options: ExecOptions): Promise<ExecResult> {
  if (options.onStdout || options.onStderr) return await executeStreaming(target, command, options);
  const stdin = options.stdin === undefined || typeof options.stdin === "boolean" ? undefined : options.stdin;
  const startedMs = performance.now();
  try {
    return await target.guest.exec.run(
      {
        ...startOptions(command, options),
        stdin: stdin === undefined ? undefined : toBase64(toBytes(stdin)),
        waitMs: quickMs,
      },
      { signal: options.signal, context: { timeoutMs: Math.max(options.timeoutMs ?? 0, quickMs) + answerMarginMs } },
    );
  } catch (error) {
    const processId = runningProcess(error);
    if (processId === undefined) throw error;
    return await waitOrKill(new Process(target.channel, { processId, pid: 0 }, startedMs), options);
  }
}

/** Starts a command that outlives this program, and follows it at once when there are callbacks. */
export async function start(target: ExecTarget, command: Command, options: ExecOptions): Promise<Process> {
  const startedMs = performance.now();
  const info = await target.guest.exec.start(
    { ...startOptions(command, options), stdin: options.stdin !== undefined && options.stdin !== false },
    { signal: options.signal },
  );
  const process = new Process(target.channel, info, startedMs);
  if (options.stdin !== undefined && typeof options.stdin !== "boolean") {
    await process.sendStdin(options.stdin);
    await process.closeStdin();
  }
  if (options.onStdout || options.onStderr) {
    process.wait(options).catch(() => {
      // The same rejection reaches whoever calls wait().
    });
  }
  return process;
}

async function executeStreaming(target: ExecTarget, command: Command, options: ExecOptions): Promise<ExecResult> {
  const process = await start(target, command, { ...options, onStdout: undefined, onStderr: undefined });
  return await waitOrKill(process, options);
}

async function waitOrKill(process: Process, options: ExecOptions): Promise<ExecResult> {
  try {
    return await process.wait(options);
  } catch (error) {
    if (options.signal?.aborted) await process.kill().catch(ignoreEnded);
    throw error;
  }
}

/** A process that ended meanwhile cannot be killed, and need not be. */
function ignoreEnded(): void {}

function startOptions(command: Command, { cwd, env, user, timeoutMs }: ExecOptions) {
  return { command: typeof command === "string" ? command : [...command], cwd, env, user, timeoutMs };
}

function runningProcess(error: unknown): string | undefined {
  if (!(error instanceof DormouseError) || error.code !== "deadline_exceeded") return undefined;
  const { processId } = error.details;
  return typeof processId === "string" ? processId : undefined;
}
