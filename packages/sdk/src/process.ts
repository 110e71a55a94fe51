import { DormouseError } from "@dormouse/base";
import type { ExecResult, ProcessEvent, ProcessInfo } from "@dormouse/contract";
import { limits } from "@dormouse/contract/limits";
import { fromBase64, OutputTail, toBase64, toBytes } from "./bytes.ts";
import type { Channel, ConnectionState } from "./channel.ts";

/** Receives a piece of output as text, and the bytes it was decoded from. What it returns is waited for. */
export type OutputCallback = (text: string, bytes: Uint8Array) => void | Promise<void>;

/** How a process is followed. */
export interface FollowProcessOptions {
  onStdout?: OutputCallback;
  onStderr?: OutputCallback;
  /** Output came faster than it was read here, so that the machine kept no more of it; a redirection into a file keeps all. */
  onLost?: (bytes: number) => void;
  /** Told when the connection to the workspace is cut and when it stands again; nothing of the output is lost. */
  onConnection?: (state: ConnectionState) => void;
  /** How long a cut connection is tried again; default 60 s. */
  reconnectMs?: number;
  /** Stops following. The process goes on. */
  signal?: AbortSignal;
}

/**
 * A process in a workspace, alive independently of this program: whoever has its
 * `processId` follows it from the beginning, as far as output is kept (4 MiB).
 */
export class Process {
  readonly processId: string;
  /** Its number in the machine. */
  readonly pid: number;
  readonly #channel: Channel;
  readonly #startedMs: number;
  #result: Promise<ExecResult> | undefined;
  #input: Promise<void> = Promise.resolve();

  /** `startedMs` of this program's monotonic clock, from which its duration counts. */
  constructor(channel: Channel, info: Pick<ProcessInfo, "processId" | "pid">, startedMs = performance.now()) {
    this.#channel = channel;
    this.#startedMs = startedMs;
    this.processId = info.processId;
    this.pid = info.pid;
  }

  /**
   * Follows the process to its end. Called again it answers the same result; callbacks count at the first call.
   * @throws DormouseError `unavailable` when the connection stays cut, `not_found` when the agent knows it no more.
   */
  wait(options: FollowProcessOptions = {}): Promise<ExecResult> {
    this.#result ??= this.#follow(options);
    return this.#result;
  }

  /** Sends a signal, by name, to the process and its children; default SIGKILL. */
  async kill(signal = "SIGKILL"): Promise<void> {
    const { processId } = this;
    await this.#channel.call((client) => client.exec.signal({ processId, signal }));
  }

  /** Writes to standard input, in the order of the calls. Needs `stdin: true` at the start. */
  sendStdin(data: string | Uint8Array): Promise<void> {
    const { processId } = this;
    return this.#inOrder(async () => {
      await this.#channel.call((client) => client.exec.writeStdin({ processId, data: toBase64(toBytes(data)) }));
    });
  }

  /** Ends standard input after what was written. */
  closeStdin(): Promise<void> {
    const { processId } = this;
    return this.#inOrder(async () => {
      await this.#channel.call((client) => client.exec.closeStdin({ processId }));
    });
  }

  #inOrder(write: () => Promise<void>): Promise<void> {
    const written = this.#input.then(write);
    // A failed write is its caller's matter; the next one is tried all the same.
    this.#input = written.catch(() => {});
    return written;
  }

  async #follow(options: FollowProcessOptions): Promise<ExecResult> {
    const stdout = outputOf(options.onStdout);
    const stderr = outputOf(options.onStderr);
    let offset = 0;
    let isLost = false;
    const open = (client: Parameters<Parameters<Channel["call"]>[0]>[0], signal: AbortSignal | undefined) =>
      client.exec.attach({ processId: this.processId, offset }, { signal });
    for await (const event of this.#channel.follow<ProcessEvent>(open, options)) {
      switch (event.type) {
        case "stdout":
        case "stderr": {
          const bytes = fromBase64(event.data);
          offset = event.offset + bytes.length;
          await (event.type === "stdout" ? stdout : stderr).append(bytes);
          break;
        }
        case "lost":
          isLost = true;
          options.onLost?.(event.bytes);
          offset = event.offset + event.bytes;
          break;
        case "exit":
          await stdout.end();
          await stderr.end();
          return {
            exitCode: event.exitCode,
            signal: event.signal,
            timedOut: event.timedOut,
            stdout: stdout.tail.text(),
            stderr: stderr.tail.text(),
            truncated: isLost || stdout.tail.dropped || stderr.tail.dropped,
            durationMs: performance.now() - this.#startedMs,
          };
      }
    }
    throw new DormouseError("data_loss", `the output of process ${this.processId} ended without its exit`);
  }
}

function outputOf(callback: OutputCallback | undefined) {
  const tail = new OutputTail(limits.execOutputBytes);
  // A character may be cut in two by a piece's end: the decoder keeps the half.
  const decoder = new TextDecoder();
  return {
    tail,
    async append(bytes: Uint8Array) {
      tail.append(bytes);
      await callback?.(decoder.decode(bytes, { stream: true }), bytes);
    },
    async end() {
      const rest = decoder.decode();
      if (rest) await callback?.(rest, new Uint8Array());
    },
  };
}
