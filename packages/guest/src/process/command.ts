import type { ExecResult } from "@dormouse/contract/guest-schemas";
import { createOutputLog, type OutputLog } from "./output-log.ts";
import type { ProcessExit, SpawnedProcess, SpawnHandlers, SpawnRequest } from "./spawner.ts";

/** What `exec.run` and `exec.start` have in common. */
export interface CommandOptions {
  /** With a string the user's shell runs it. */
  command: string | string[];
  cwd?: string | undefined;
  env?: Record<string, string> | undefined;
  user?: string | undefined;
  timeoutMs?: number | undefined;
}

/** Whose machine it is decides where commands run and what they find in their environment. */
export interface CommandDefaults {
  /** Environment of every user process, over the login environment. */
  env: Readonly<Record<string, string>>;
  /** Where processes start that name no folder; undefined: in the user's home. */
  folder: string | undefined;
  /** Whom processes run as that name nobody; undefined: the machine's default user. */
  user: string | undefined;
}

/** A command that runs or ran, its latest output kept. */
export interface Command {
  readonly startedMs: number;
  readonly handle: SpawnedProcess;
  readonly log: OutputLog<"stdout" | "stderr">;
  readonly exit: ProcessExit | undefined;
  /** It was ended because its time was over. */
  readonly timedOut: boolean;
}

/** How {@link launch} launches. */
export interface LaunchOptions {
  /** Starts it, or takes it over. */
  start: (handlers: SpawnHandlers) => Promise<SpawnedProcess>;
  /** Output kept of each stream. */
  logBytes: number;
  /** The process group is killed after this. */
  timeoutMs?: number | undefined;
  /** Default: now. */
  startedMs?: number;
}

/** Starts a command and keeps what it writes. @throws DormouseError as the spawner does. */
export async function launch(options: LaunchOptions): Promise<Command> {
  const { start, logBytes, timeoutMs, startedMs = Date.now() } = options;
  const log = createOutputLog<"stdout" | "stderr">(logBytes);
  let exit: ProcessExit | undefined;
  let timedOut = false;
  let timer: NodeJS.Timeout | undefined;
  const onExit = (exited: ProcessExit) => {
    exit = exited;
    clearTimeout(timer);
    log.wake();
  };
  const handle = await start({ onOutput: log.append, onExit });
  if (!exit && timeoutMs !== undefined) {
    timer = setTimeout(() => {
      timedOut = true;
      handle.kill();
    }, timeoutMs);
  }
  return {
    startedMs,
    handle: {
      ...handle,
      release: async () => {
        const released = await handle.release();
        if (released) clearTimeout(timer);
        return released;
      },
    },
    log,
    get exit() {
      return exit;
    },
    get timedOut() {
      return timedOut;
    },
  };
}

/** What a command of the contract means to the spawner; terminals use it too. */
export function requestOf(defaults: CommandDefaults, options: CommandOptions): SpawnRequest {
  const { command } = options;
  const base = {
    env: { ...defaults.env, ...options.env },
    cwd: options.cwd,
    folder: defaults.folder,
    user: options.user ?? defaults.user,
  };
  return typeof command === "string"
    ? { ...base, shell: "plain", arguments: ["-c", command] }
    : { ...base, arguments: command };
}

/** When {@link waitForExit} stops waiting. */
export interface WaitOptions {
  waitMs?: number | undefined;
  /** Keeping so much output is enough. */
  outputBytes?: number;
  signal?: AbortSignal | undefined;
}

/** Whether it has ended. False: one of the limits came first. */
export async function waitForExit(command: Command, { waitMs, outputBytes, signal }: WaitOptions): Promise<boolean> {
  let isOver = signal?.aborted ?? false;
  const stop = () => {
    isOver = true;
    command.log.wake();
  };
  // A timer and a listener, not signals made of signals: on the first call after a restore those alone cost 30 ms.
  const timer = waitMs === undefined ? undefined : setTimeout(stop, waitMs);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const hasRoom = () => outputBytes === undefined || command.log.keptBytes < outputBytes;
    while (!command.exit && !isOver && hasRoom()) await command.log.changed();
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
  return command.exit !== undefined;
}

/** The answer of `exec.run` for a command that has ended. */
export function resultOf(command: Command, durationMs: number): ExecResult {
  const { log, exit, timedOut } = command;
  const stdout = log.collect("stdout").toString();
  const stderr = log.collect("stderr").toString();
  return {
    exitCode: exit?.exitCode ?? 0,
    signal: exit?.signal ?? null,
    stdout,
    stderr,
    timedOut,
    truncated: log.hasDropped("stdout") || log.hasDropped("stderr"),
    durationMs: Math.round(durationMs * 10) / 10,
  };
}
