import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { DormouseError, type Logger, sleep } from "@dormouse/base";

const headerBytes = 12;
const restartDelayMs = 100;
const maxRestartDelayMs = 2_000;
const startTimeoutMs = 10_000;

/** A message to or from a native program, see `native/frames.h`. */
export interface Frame {
  kind: number;
  id: number;
  payload: Buffer;
}

/** A native program that is started again whenever it ends, until it is closed. */
export interface FramedProcess extends AsyncDisposable {
  /** Sends a message; one for a program that is not there now is lost. */
  send(frame: Frame): void;
  /** Resolves when the program runs and has said its first word. */
  ready(): Promise<void>;
  readonly pid: number | undefined;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What {@link startFramedProcess} goes by. */
export interface FramedProcessOptions {
  command: string;
  args: () => readonly string[];
  /** Which message is its first word. */
  isFirst: (frame: Frame) => boolean;
  onFrame: (frame: Frame) => void;
  /** The program has ended, and another is about to start; what was asked of it will not be answered. */
  onEnd: () => void;
  logger: Logger;
}

/**
 * Starts a native program and waits for its first word.
 * @throws DormouseError `internal` with what it said when it does not start.
 */
export async function startFramedProcess(options: FramedProcessOptions): Promise<FramedProcess> {
  const { logger } = options;
  const stop = new AbortController();
  let child: ChildProcess | undefined;
  let ready = Promise.withResolvers<void>();
  let lastWords = "";

  const runOnce = async () => {
    const own = spawn(options.command, options.args(), { stdio: ["pipe", "pipe", "pipe"] });
    child = own;
    lastWords = "";
    own.stderr?.on("data", (data) => {
      lastWords = `${lastWords}${data}`.slice(-2_000);
    });
    // One that has ended cannot be written to; its end is seen below.
    own.stdin?.on("error", () => {});
    const read = frameReader((frame) => {
      if (options.isFirst(frame)) ready.resolve();
      options.onFrame(frame);
    });
    own.stdout?.on("data", read);
    const [code, signal] = await once(own, "exit");
    return `${options.command} ended with ${signal ?? code}${lastWords && `: ${lastWords.trim()}`}`;
  };
  const keep = async () => {
    let delayMs = restartDelayMs;
    while (!stop.signal.aborted) {
      const startedMs = Date.now();
      const reason = await runOnce().catch((error: unknown) => DormouseError.from(error).message);
      child = undefined;
      options.onEnd();
      if (stop.signal.aborted) break;
      const waiting = ready;
      ready = Promise.withResolvers<void>();
      // Nobody may be listening.
      ready.promise.catch(() => {});
      waiting.reject(new DormouseError("internal", reason));
      logger.error("a program of the egress policy ended and is started again", { reason });
      delayMs = Date.now() - startedMs > maxRestartDelayMs ? restartDelayMs : Math.min(2 * delayMs, maxRestartDelayMs);
      await sleep(delayMs, stop.signal).catch(() => {});
    }
  };
  const first = ready.promise;
  first.catch(() => {});
  const kept = keep();
  const close = async () => {
    stop.abort();
    child?.kill("SIGKILL");
    await kept;
  };
  const timer = setTimeout(
    () => ready.reject(new DormouseError("deadline_exceeded", `${options.command} does not answer`)),
    startTimeoutMs,
  );
  try {
    await first;
  } catch (error) {
    await close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return {
    ready: () => ready.promise,
    get pid() {
      return child?.pid;
    },
    send({ kind, id, payload }) {
      const header = Buffer.alloc(headerBytes);
      header.writeUInt32LE(payload.length, 0);
      header.writeUInt32LE(kind, 4);
      header.writeUInt32LE(id, 8);
      child?.stdin?.write(Buffer.concat([header, payload]));
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Puts messages together from pieces of a stream. */
export function frameReader(take: (frame: Frame) => void): (data: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  return (data) => {
    held = held.length === 0 ? data : Buffer.concat([held, data]);
    let at = 0;
    while (held.length - at >= headerBytes) {
      const length = held.readUInt32LE(at);
      if (held.length - at - headerBytes < length) break;
      const start = at + headerBytes;
      take({
        kind: held.readUInt32LE(at + 4),
        id: held.readUInt32LE(at + 8),
        payload: held.subarray(start, start + length),
      });
      at = start + length;
    }
    held = held.subarray(at);
  };
}
