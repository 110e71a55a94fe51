import { EventEmitter } from "node:events";
import { connect, type Socket } from "node:net";
import { DormouseError, sleep, withTimeout } from "@dormouse/base";
import type { QmpCommands, QmpEvent } from "./qmp-schema.ts";

/** A line longer than this is no answer to anything asked here; the connection is closed. */
const maxLineBytes = 4 * 1024 * 1024;
/** Answers outstanding at once; a caller that piles up more has a bug. */
const maxPending = 64;
const defaultTimeoutMs = 10_000;

/** How long a command may take, and what cancels waiting for it. */
export interface QmpOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: DormouseError): void;
}

/**
 * A connection to QEMU's control socket (QMP,
 * https://www.qemu.org/docs/master/interop/qmp-spec.html): commands with ids, answers
 * matched to them, events as they come. Emits `event` and, once, `close`.
 */
export class Qmp extends EventEmitter<{ event: [QmpEvent]; close: [] }> {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #partial: Buffer[] = [];
  #partialBytes = 0;
  #isClosed = false;
  #onGreeting: (() => void) | undefined;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", () => {
      // `close` follows and says all there is to say: the other end is gone.
    });
    socket.on("close", () => this.#closed());
  }

  /**
   * Connects and negotiates. The socket may not exist yet: a VMM that is just
   * starting is waited for.
   * @throws DormouseError `deadline_exceeded` when nobody answers in time, `unavailable`
   *   when `isAlive` says that nobody ever will.
   */
  static async connect(
    path: string,
    options: QmpOptions & { /** Asked between attempts; false ends the waiting. */ isAlive?: () => boolean } = {},
  ): Promise<Qmp> {
    const open = async (signal: AbortSignal) => {
      for (;;) {
        const socket = await tryConnect(path);
        if (socket) return await Qmp.#negotiate(socket, signal);
        if (options.isAlive?.() === false) {
          throw new DormouseError("unavailable", "the VMM ended before it opened its control socket");
        }
        await sleep(2, signal);
      }
    };
    return withTimeout("connecting to the VMM", options.timeoutMs ?? defaultTimeoutMs, open, options.signal);
  }

  static async #negotiate(socket: Socket, signal: AbortSignal): Promise<Qmp> {
    const qmp = new Qmp(socket);
    const abort = () => socket.destroy();
    signal.addEventListener("abort", abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        qmp.#onGreeting = resolve;
        qmp.once("close", () => reject(new DormouseError("unavailable", "the VMM closed its control socket")));
      });
      await qmp.execute("qmp_capabilities", undefined, { signal });
      return qmp;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Whether the connection is gone; it never comes back, connect anew. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Runs one command and returns its answer.
   * @throws DormouseError `internal` with QEMU's own description, `deadline_exceeded`,
   *   `cancelled`, or `unavailable` when the VMM goes away meanwhile.
   */
  async execute<Name extends keyof QmpCommands>(
    command: Name,
    input?: QmpCommands[Name]["input"],
    options: QmpOptions = {},
  ): Promise<QmpCommands[Name]["output"]> {
    if (this.#isClosed) throw new DormouseError("unavailable", `the VMM is gone, so ${command} cannot be asked`);
    if (this.#pending.size >= maxPending) {
      throw new DormouseError("resource_exhausted", `${maxPending} commands wait for the VMM already`);
    }
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
    });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: input, id })}\n`);
    try {
      const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
      // The type of an answer is QEMU's promise (its QAPI schema), checked there and not again here.
      return (await withTimeout(`${command} in the VMM`, timeoutMs, () => answer, options.signal)) as never;
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Closes the connection; the VMM runs on. */
  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...this.#partial, rest.subarray(0, end)]).toString();
      this.#partial = [];
      this.#partialBytes = 0;
      rest = rest.subarray(end + 1);
      if (line.trim()) this.#handle(line);
    }
    if (rest.length === 0) return;
    this.#partial.push(rest);
    this.#partialBytes += rest.length;
    if (this.#partialBytes > maxLineBytes) this.#socket.destroy();
  }

  #handle(line: string): void {
    const message = parse(line);
    // What is not JSON did not come from a QEMU in order; there is no way to go on from there.
    if (!message) this.#socket.destroy();
    else if ("QMP" in message) this.#onGreeting?.();
    else if (typeof message.event === "string") this.emit("event", message as unknown as QmpEvent);
    else this.#answer(message);
  }

  #answer(message: Record<string, unknown>): void {
    const pending = typeof message.id === "number" ? this.#pending.get(message.id) : undefined;
    if (!pending) return;
    if ("return" in message) {
      pending.resolve(message.return);
      return;
    }
    const error = message.error as { class?: string; desc?: string } | undefined;
    pending.reject(
      new DormouseError("internal", `${pending.command} failed in the VMM: ${error?.desc ?? "no reason given"}`),
    );
  }

  #closed(): void {
    this.#isClosed = true;
    for (const { command, reject } of this.#pending.values()) {
      reject(new DormouseError("unavailable", `the VMM went away during ${command}`));
    }
    this.#pending.clear();
    this.emit("close");
  }
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // The caller closes the connection; the broken line itself tells nothing more.
    return undefined;
  }
}

function tryConnect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    // Not there yet or not listening yet: the caller tries again until its time is over.
    socket.once("error", () => resolve(undefined));
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}
