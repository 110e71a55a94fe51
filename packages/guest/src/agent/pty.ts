import { readlink } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import type { PtyEvent, PtyInfo } from "@dormouse/contract/guest-schemas";
import { limits } from "@dormouse/contract/limits";
import { requestOf } from "../process/command.ts";
import { createOutputLog, type OutputLog } from "../process/output-log.ts";
import type { ProcessExit, SpawnedProcess, Spawner } from "../process/spawner.ts";
import { randomId } from "./random-id.ts";
import type { Machine } from "./session.ts";

/** One message to a client carries at most this. */
const pieceBytes = 64 * 1024;

interface Terminal {
  info: PtyInfo;
  log: OutputLog<"stdout">;
  handle: SpawnedProcess | undefined;
  exit: ProcessExit | undefined;
}

/** What `pty.create` takes. */
export interface PtyOptions {
  cols: number;
  rows: number;
  command?: string[];
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  title?: string;
}

/** The terminals of the machine. They live until their process ends or they are killed. */
export type PtyService = ReturnType<typeof createPtyService>;

/** Opens terminals through the spawner and keeps their scrollback. */
export function createPtyService(machine: Machine, spawner: Spawner) {
  const terminals = new Map<string, Terminal>();
  let lastOutputMs: number | null = null;

  const find = (id: string): Terminal => {
    const terminal = terminals.get(id);
    if (!terminal) throw new DormouseError("not_found", `id: no terminal ${id} is known here`);
    return terminal;
  };

  const makeRoom = () => {
    if (terminals.size < limits.ptys) return;
    for (const [id, terminal] of terminals) {
      if (terminal.exit) return terminals.delete(id);
    }
    throw new DormouseError("resource_exhausted", `${limits.ptys} terminals are open already; close one of them first`);
  };

  return {
    get count() {
      let count = 0;
      for (const terminal of terminals.values()) if (!terminal.exit) count++;
      return count;
    },
    get lastOutputMs() {
      return lastOutputMs;
    },

    async create(options: PtyOptions): Promise<PtyInfo> {
      makeRoom();
      const { cols, rows, command } = options;
      const log = createOutputLog<"stdout">(limits.ptyScrollbackBytes);
      const info: PtyInfo = {
        id: randomId("pty"),
        pid: 0,
        title: options.title ?? command?.[0] ?? "shell",
        cwd: options.cwd ?? machine.session.folder ?? "/",
        cols,
        rows,
        exitCode: null,
      };
      const terminal: Terminal = { info, log, handle: undefined, exit: undefined };
      // Counted from now on, so that many calls at once cannot pass the limit together.
      terminals.set(info.id, terminal);
      const request = requestOf(machine.session, { ...options, command: command ?? [] });
      const env = { TERM: "xterm-256color", COLORTERM: "truecolor", TERM_PROGRAM: "dormouse", ...request.env };
      try {
        terminal.handle = await spawner.spawn(
          { ...request, ...(command ? {} : { shell: "login" }), env, terminal: { cols, rows } },
          {
            onOutput(_, bytes) {
              lastOutputMs = Date.now();
              log.append("stdout", bytes);
            },
            onExit(exit) {
              terminal.exit = exit;
              info.exitCode = exit.exitCode;
              log.wake();
            },
          },
        );
      } catch (error) {
        terminals.delete(info.id);
        throw error;
      }
      info.pid = terminal.handle.pid;
      return info;
    },

    async list(): Promise<PtyInfo[]> {
      const all = [...terminals.values()];
      await Promise.all(all.map((terminal) => updateFolder(machine, terminal)));
      return all.map((terminal) => terminal.info);
    },

    attach(id: string, offset: number, signal?: AbortSignal): AsyncGenerator<PtyEvent> {
      return follow(find(id), offset, signal);
    },

    async input(id: string, data: string): Promise<void> {
      await find(id).handle?.write(Buffer.from(data, "utf8"));
    },

    resize(id: string, size: { cols: number; rows: number }): void {
      const { info, handle, log } = find(id);
      if (info.cols === size.cols && info.rows === size.rows) return;
      info.cols = size.cols;
      info.rows = size.rows;
      handle?.resize(size);
      log.wake();
    },

    /** Ends the process if it runs, and forgets the terminal. */
    kill(id: string): void {
      const terminal = find(id);
      terminals.delete(id);
      terminal.handle?.kill();
    },
  };
}

async function* follow(terminal: Terminal, fromOffset: number, signal?: AbortSignal): AsyncGenerator<PtyEvent> {
  const { info, log } = terminal;
  let offset = Math.min(fromOffset, log.endOffset);
  let { cols, rows } = info;
  // Says at once that there is nothing to replay: a client holds typed text back until it has shown what was there.
  if (offset >= log.endOffset && !terminal.exit) yield { type: "data", offset, data: "" };
  while (!signal?.aborted) {
    if (info.cols !== cols || info.rows !== rows) {
      ({ cols, rows } = info);
      yield { type: "resized", cols, rows };
    }
    const text = nextText(log, offset, terminal.exit !== undefined);
    if (text) {
      offset = text.endOffset;
      yield { type: "data", offset, data: text.bytes.toString("utf8") };
    } else if (terminal.exit) {
      yield { type: "exit", exitCode: terminal.exit.exitCode, signal: terminal.exit.signal };
      return;
    } else {
      await log.changed(signal);
    }
  }
}

/** Whole characters from `offset` on; half of one waits for its rest, unless there is none to come. */
function nextText(log: OutputLog<"stdout">, offset: number, isOver: boolean) {
  const piece = log.next(offset);
  if (!piece) return undefined;
  let bytes = piece.bytes.subarray(0, pieceBytes);
  if (openBytes(bytes) === bytes.length) {
    const more = log.next(piece.offset + bytes.length);
    if (more) bytes = Buffer.concat([bytes, more.bytes.subarray(0, pieceBytes)]);
    else if (!isOver) return undefined;
  }
  const open = openBytes(bytes);
  if (open < bytes.length) bytes = bytes.subarray(0, bytes.length - open);
  return { bytes, endOffset: piece.offset + bytes.length };
}

/** How many bytes at the end are the beginning of a character that is not complete. */
function openBytes(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}

/** The folder its first process is in; where that cannot be read, the last one known stays. */
async function updateFolder(machine: Machine, { info, exit }: Terminal): Promise<void> {
  if (exit) return;
  try {
    info.cwd = await readlink(`${machine.root}/proc/${info.pid}/cwd`);
  } catch {
    // The process has just ended.
  }
}
