import { constants } from "node:os";
import { DormouseError } from "@dormouse/base";
import type { ExecResult, ProcessEvent, ProcessInfo, ReleasedCommand } from "@dormouse/contract/guest-schemas";
import { limits } from "@dormouse/contract/limits";
import { type Command, type CommandOptions, launch, requestOf, resultOf, waitForExit } from "../process/command.ts";
import type { Spawner } from "../process/spawner.ts";
import { randomId } from "./random-id.ts";
import type { Machine } from "./session.ts";

/** Output of ended processes that is kept for late readers, all of them together. */
const endedOutputBytes = 16 * 1024 * 1024;

/** One of the list: what it was started as, and how it goes. */
interface Process {
  id: string;
  words: CommandOptions["command"];
  command: Command;
}

/** The processes of `exec.*`: each outlives its stream, and its latest output is kept. */
export type ExecService = ReturnType<typeof createExecService>;

/** Runs commands through the spawner and remembers those that were started to stay. */
export function createExecService(machine: Machine, spawner: Spawner) {
  const processes = new Map<string, Process>();

  const start = (options: CommandOptions, stdin: boolean, logBytes: number): Promise<Command> => {
    const request = { ...requestOf(machine.session, options), stdin };
    return launch({ start: (handlers) => spawner.spawn(request, handlers), logBytes, timeoutMs: options.timeoutMs });
  };

  const remember = (words: CommandOptions["command"], command: Command): Process => {
    const process = { id: randomId("proc"), words, command };
    try {
      makeRoom(processes);
    } catch (error) {
      command.handle.kill();
      throw error;
    }
    processes.set(process.id, process);
    return process;
  };

  const find = (processId: string): Command => {
    const process = processes.get(processId);
    if (!process) throw new DormouseError("not_found", `processId: no process ${processId} is known here`);
    return process.command;
  };

  /** Answers when it has ended; what was to be waited for no longer stays in the list. */
  const finish = async (
    { id, command }: Process,
    { waitMs, signal }: { waitMs?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<ExecResult> => {
    const isOver = await waitForExit(command, { waitMs, signal });
    if (!isOver && signal?.aborted) {
      command.handle.kill();
      processes.delete(id);
      throw new DormouseError("cancelled", "the call was ended by its client, and the command with it");
    }
    if (!isOver) {
      throw new DormouseError("deadline_exceeded", `the command still runs after ${waitMs} ms`, {
        details: { processId: id },
      });
    }
    processes.delete(id);
    return resultOf(command, Date.now() - command.startedMs);
  };

  return {
    /** How many still run. */
    get runningCount() {
      let count = 0;
      for (const { command } of processes.values()) if (!command.exit) count++;
      return count;
    },

    async run(
      options: CommandOptions & { stdin?: string; maxOutputBytes?: number; waitMs?: number },
      signal?: AbortSignal,
    ): Promise<ExecResult> {
      const { stdin, maxOutputBytes = limits.execOutputBytes, waitMs } = options;
      const command = await start(options, stdin !== undefined, maxOutputBytes);
      // In the list while it runs, so that others see it and `waitMs` can hand it over.
      const process = remember(options.command, command);
      if (stdin !== undefined) {
        void command.handle.write(Buffer.from(stdin, "base64"));
        void command.handle.closeInput();
      }
      return finish(process, { waitMs, signal });
    },

    /** Goes on with a command that the host started and let go; answers as `run` does. */
    async adopt(released: ReleasedCommand, signal?: AbortSignal): Promise<ExecResult> {
      const { name, startedMs, timeoutMs, waitMs, maxOutputBytes = limits.execOutputBytes } = released;
      const command = await launch({
        start: (handlers) => {
          for (const { stream, data } of released.output) handlers.onOutput(stream, Buffer.from(data, "base64"));
          return spawner.adopt(name, handlers);
        },
        logBytes: maxOutputBytes,
        timeoutMs,
        startedMs,
      });
      return finish(remember(released.command, command), { waitMs, signal });
    },

    async start(options: CommandOptions & { stdin: boolean }): Promise<ProcessInfo> {
      return infoOf(remember(options.command, await start(options, options.stdin, limits.execOutputBytes)));
    },

    async *attach(processId: string, fromOffset: number, signal?: AbortSignal): AsyncGenerator<ProcessEvent> {
      const command = find(processId);
      let offset = fromOffset;
      while (!signal?.aborted) {
        const piece = command.log.next(offset);
        if (piece && piece.offset > offset) yield { type: "lost", offset, bytes: piece.offset - offset };
        if (piece) {
          offset = piece.offset + piece.bytes.length;
          yield { type: piece.stream, offset: piece.offset, data: piece.bytes.toString("base64") };
        } else if (command.exit) {
          const { exitCode, signal: name } = command.exit;
          yield { type: "exit", exitCode, signal: name, timedOut: command.timedOut };
          return;
        } else {
          await command.log.changed(signal);
        }
      }
    },

    list: (): ProcessInfo[] => [...processes.values()].map(infoOf),

    async writeStdin(processId: string, data: string): Promise<void> {
      await find(processId).handle.write(Buffer.from(data, "base64"));
    },

    async closeStdin(processId: string): Promise<void> {
      await find(processId).handle.closeInput();
    },

    signal(processId: string, name: string): void {
      find(processId).handle.signal(signalNumber(name));
    },
  };
}

/** The number of a signal by its name. */
export function signalNumber(name: string): number {
  const number = (constants.signals as Readonly<Record<string, number>>)[name];
  if (number === undefined) {
    throw new DormouseError("invalid_argument", `signal: ${name} is no signal; a name like SIGTERM would be`);
  }
  return number;
}

function infoOf({ id, words, command }: Process): ProcessInfo {
  const { handle, startedMs, exit } = command;
  return { processId: id, pid: handle.pid, command: words, startedMs, exitCode: exit?.exitCode ?? null };
}

/** Forgets ended processes, oldest first, while there are too many or they keep too much. */
function makeRoom(processes: Map<string, Process>): void {
  let keptBytes = 0;
  for (const { command } of processes.values()) if (command.exit) keptBytes += command.log.keptBytes;
  for (const [processId, { command }] of processes) {
    if (processes.size < limits.processes && keptBytes <= endedOutputBytes) return;
    if (!command.exit) continue;
    keptBytes -= command.log.keptBytes;
    processes.delete(processId);
  }
  if (processes.size >= limits.processes) {
    throw new DormouseError("resource_exhausted", `${limits.processes} processes run already; end one of them first`);
  }
}
