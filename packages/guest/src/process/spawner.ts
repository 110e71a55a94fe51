import { connect, type Socket } from "node:net";
import { constants } from "node:os";
import { DormouseError, type ErrorCode } from "@dormouse/base";
import {
  clockQuestions,
  encodeFrame,
  encodeRecords,
  encodeTime,
  frame,
  frameReader,
  nanosecondsOf,
  stdinWindowBytes,
} from "./spawner-protocol.ts";

/** What to run, and as whom. */
export interface SpawnRequest {
  /** The program and its arguments; with `shell` the arguments of the user's shell. */
  arguments: readonly string[];
  /** Run the user's shell, as a login shell or not. */
  shell?: "plain" | "login";
  env?: Readonly<Record<string, string>>;
  /** Must be there. */
  cwd?: string;
  /** Without a `cwd`; where it is not there, or not given, it is the user's home. */
  folder?: string;
  /** A name, `uid` or `uid:gid`; default is the machine's user. */
  user?: string;
  /** Run on a terminal of this size. */
  terminal?: { cols: number; rows: number };
  /** Whether input will be written; always so with a terminal. */
  stdin?: boolean;
}

/** How a process ended. `lost`: the spawner died and with it the process. */
export interface ProcessExit {
  /** 128 + signal number when a signal ended it. */
  exitCode: number;
  signal: string | null;
  lost: boolean;
}

/** What the owner of a process is told, in order. */
export interface SpawnHandlers {
  /** `bytes` is a view that stays valid. */
  onOutput(stream: "stdout" | "stderr", bytes: Buffer): void;
  onExit(exit: ProcessExit): void;
}

/** A process that was started. After its exit every call does nothing. */
export interface SpawnedProcess {
  /** As the user sees it. */
  readonly pid: number;
  /** Resolves when all of it has been passed on to the process, or it has ended. */
  write(bytes: Uint8Array): Promise<void>;
  /** After everything written so far. */
  closeInput(): Promise<void>;
  resize(size: { cols: number; rows: number }): void;
  signal(number: number): void;
  /** Kills the process group; the exit is told as ever. */
  kill(): void;
  /**
   * Lets another client have it, see {@link Spawner.adopt}: nothing is told of it here any more. Undefined when it has
   * ended instead, and that is told.
   */
  release(): Promise<ReleasedProcess | undefined>;
}

/** A process that waits for its next owner; it lives no longer than this connection until then. */
export interface ReleasedProcess {
  /** What the next owner must know. */
  name: string;
  /** Ends it, unless it has its next owner already. */
  abandon(): void;
}

/** What a machine is told after every start. */
export interface MachineIdentity {
  /** The wall clock, milliseconds since the epoch. Read again when the machine gets to setting its own. */
  nowMs: () => number;
  hostname: string;
  /** 32 hex characters. */
  machineId: string;
  /** A UUID that the user finds as the kernel's boot id. */
  bootId: string;
  entropy: Uint8Array;
  /** What clients show from now on. */
  token: string;
  /** What the agent finds in its identity file. */
  content: string;
}

/** Starts processes as the user, and does what only root may. */
export interface Spawner {
  /**
   * @throws DormouseError `not_found` for a program, folder or user that is not there,
   *   `permission_denied`, `invalid_argument` for too many arguments, `unavailable`
   *   when the spawner cannot be reached. Nothing runs then.
   */
  spawn(request: SpawnRequest, handlers: SpawnHandlers, signal?: AbortSignal): Promise<SpawnedProcess>;
  /**
   * Takes over a process that another client released, by its name; only inside the machine.
   * @throws DormouseError `unavailable` when it is not there any more.
   */
  adopt(name: string, handlers: SpawnHandlers): Promise<SpawnedProcess>;
  /**
   * Reseeds the kernel's randomness, sets the clock, writes the machine's names and its identity file, and lets user
   * processes go on. The clock is off by half of a round trip at most, however long the machine took until then.
   */
  identify(identity: MachineIdentity, signal?: AbortSignal): Promise<void>;
  /**
   * For the instant of a snapshot user processes stand still, so that none of them runs after a restore before the machine
   * has an identity, which lets them go on as {@link thaw} does. With `sync` what they wrote is put on the disk before,
   * while they run.
   */
  freeze(options: { sync: boolean }, signal?: AbortSignal): Promise<void>;
  /** Lets user processes go on, and the clock catch up with the time that the machine stood still. */
  thaw(nowMs: () => number, signal?: AbortSignal): Promise<void>;
  /** Lets the idle connections go; processes that run are not touched. */
  close(): void;
}

/** Connections kept for the next processes, when several have run at once. */
const idleConnections = 4;

/** A {@link Spawner} over the socket that `dormouse-init` listens on. */
export function createSpawner(open: () => Socket): Spawner {
  // Each connection has a process of the spawner behind it, already in the user's namespaces.
  // Those that a process has ended on serve the next one: no connecting, no fork in its way.
  const idle: Socket[] = [];
  let isClosed = false;
  const take = () => idle.pop()?.ref() ?? open();
  const giveBack = (socket: Socket) => {
    if (isClosed || idle.length >= idleConnections) return void socket.destroy();
    idle.push(socket);
    const forget = () => {
      const index = idle.indexOf(socket);
      if (index >= 0) idle.splice(index, 1);
    };
    listen(socket, { error: forget, close: forget, data: () => socket.destroy() });
    socket.unref();
  };

  return {
    async spawn(request, handlers, signal) {
      const payload = encodeRecords(recordsOf(request));
      if (!payload) throw tooLong();
      return start({ socket: take(), giveBack, request, payload, handlers, signal });
    },
    adopt: (name, handlers) => start({ socket: connect(`\0${name}`), giveBack, handlers }),
    async identify({ nowMs, hostname, machineId, bootId, entropy, token, content }, signal) {
      const payload = encodeRecords([
        ["t", String(nanosecondsOf(nowMs()))],
        ["q", ""],
        ["h", hostname],
        ["m", machineId],
        ["b", bootId],
        ["r", Buffer.from(entropy).toString("hex")],
        ["k", token],
        ["j", content],
      ]);
      if (!payload) throw tooLong();
      const socket = open();
      await ask(socket, "identify", encodeFrame(frame.identity, payload), { nowMs, signal });
      // The first process finds a connection that is there already.
      giveBack(socket);
    },
    async freeze({ sync }, signal) {
      // One of its own: a process takes its connection into the user's root, and from there it does not work. Nor is one
      // kept that would be in the snapshot.
      const socket = open();
      try {
        if (sync) await ask(socket, "sync", encodeFrame(frame.sync), { signal });
        await ask(socket, "freeze", encodeFrame(frame.freeze), { signal });
      } finally {
        socket.destroy();
      }
    },
    async thaw(nowMs, signal) {
      const payload = encodeRecords([["t", String(nanosecondsOf(nowMs()))]]);
      if (!payload) throw tooLong();
      const socket = open();
      await ask(socket, "thaw", encodeFrame(frame.thaw, payload), { nowMs, signal });
      giveBack(socket);
    },
    close() {
      isClosed = true;
      for (const socket of idle.splice(0)) socket.destroy();
    },
  };
}

interface Listeners {
  data: (chunk: Buffer) => void;
  error: (cause: Error) => void;
  close: () => void;
}

const listening = new WeakMap<Socket, Listeners>();

/** Puts these in the place of those before them; what others listen for is theirs. */
function listen(socket: Socket, listeners: Listeners): void {
  for (const [event, listener] of Object.entries(listening.get(socket) ?? {})) socket.off(event, listener);
  for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener);
  listening.set(socket, listeners);
}

/** What a machine sends that cannot be read fails what it was sent for, and nothing else. */
function guarded(read: (chunk: Buffer) => void, fail: (error: DormouseError) => void): (chunk: Buffer) => void {
  return (chunk) => {
    try {
      read(chunk);
    } catch (error) {
      fail(DormouseError.from(error));
    }
  };
}

/** One operation on a connection; it fails with it. With `nowMs` it answers the question for the time meanwhile. */
function ask(
  socket: Socket,
  name: string,
  bytes: Buffer,
  { nowMs, signal }: { nowMs?: () => number; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const fail = (error: DormouseError) => {
      socket.destroy();
      reject(error);
    };
    const onAbort = () => fail(DormouseError.from(signal?.reason, "cancelled"));
    let questions = 0;
    const onAnswer = (answer: number, content: Buffer) => {
      // One that asks without end and never reads would have the answers pile up here.
      if (answer === frame.clock && nowMs && questions++ < clockQuestions) {
        return void socket.write(encodeTime(nowMs()));
      }
      signal?.removeEventListener("abort", onAbort);
      if (answer === frame.done) resolve();
      else if (answer === frame.error) fail(operationError(name, content));
      else fail(new DormouseError("internal", `${name}: the spawner sent a frame of type ${answer}`));
    };
    listen(socket, {
      error: (cause) => fail(unreachable(cause)),
      close: () => fail(unreachable()),
      data: guarded(frameReader(onAnswer), fail),
    });
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    else socket.write(bytes);
  });
}

function recordsOf(request: SpawnRequest): [string, string][] {
  const records: [string, string][] = request.arguments.map((argument) => ["a", argument]);
  if (request.shell) records.push(["s", request.shell]);
  for (const [name, value] of Object.entries(request.env ?? {})) records.push(["e", `${name}=${value}`]);
  if (request.cwd !== undefined) records.push(["c", request.cwd]);
  else if (request.folder !== undefined) records.push(["d", request.folder]);
  if (request.user !== undefined) records.push(["u", request.user]);
  if (request.terminal) records.push(["p", `${request.terminal.cols}x${request.terminal.rows}`]);
  if (request.stdin) records.push(["i", ""]);
  const broken = records.find(([, value]) => value.includes("\0"));
  if (broken) throw new DormouseError("invalid_argument", "command, env, cwd and user hold no NUL character");
  return records;
}

interface Start {
  socket: Socket;
  giveBack: (socket: Socket) => void;
  handlers: SpawnHandlers;
  /** Undefined for a process that runs already. */
  request?: SpawnRequest;
  payload?: Buffer;
  /** Gives up waiting for the start. */
  signal?: AbortSignal | undefined;
}

function start({ socket, giveBack, handlers, request, payload, signal }: Start): Promise<SpawnedProcess> {
  return new Promise((resolve, reject) => {
    let isStarted = false;
    let hasEnded = false;
    const input = inputWindow(socket);
    let released: PromiseWithResolvers<ReleasedProcess | undefined> | undefined;
    const end = (exit: ProcessExit, isReusable = false) => {
      if (hasEnded) return;
      hasEnded = true;
      input.end();
      if (isReusable) giveBack(socket);
      else socket.destroy();
      handlers.onExit(exit);
      released?.resolve(undefined);
    };
    const onAbort = () => fail(DormouseError.from(signal?.reason, "cancelled"));
    const began = () => {
      isStarted = true;
      signal?.removeEventListener("abort", onAbort);
    };
    // From here on the connection only keeps it alive until its next owner has it; its end says nothing.
    const letGo = (name: string) => {
      hasEnded = true;
      input.end();
      listen(socket, { error: () => {}, close: () => {}, data: () => {} });
      released?.resolve({ name, abandon: () => socket.destroy() });
    };
    const fail = (error: DormouseError) => {
      socket.destroy();
      if (!isStarted) return reject(error);
      end({ exitCode: 128 + constants.signals.SIGKILL, signal: "SIGKILL", lost: true });
    };
    const send = (type: number, content: Buffer) => {
      if (!hasEnded) socket.write(encodeFrame(type, content));
    };
    const onFrame = (type: number, content: Buffer) => {
      if (hasEnded) return;
      switch (type) {
        case frame.stdout:
          return handlers.onOutput("stdout", content);
        case frame.stderr:
          return handlers.onOutput("stderr", content);
        case frame.stdinTaken:
          return input.taken(content.readUInt32LE(0));
        case frame.exit:
          return end(exitOf(content), content.readUInt32LE(8) === 1);
        case frame.error:
          return fail(startError(request, content));
        case frame.released:
          return letGo(content.toString("latin1"));
        case frame.started:
          began();
          return resolve({
            pid: content.readUInt32LE(0),
            write: (bytes) => input.write(bytes),
            closeInput: () => input.close(),
            resize: ({ cols, rows }) => send(frame.resize, Buffer.of(cols & 255, cols >> 8, rows & 255, rows >> 8)),
            signal: (number) => send(frame.signal, Buffer.of(number)),
            kill: () => send(frame.signal, Buffer.of(constants.signals.SIGKILL)),
            release: () => {
              if (hasEnded) return Promise.resolve(undefined);
              if (!released) send(frame.release, Buffer.alloc(0));
              released ??= Promise.withResolvers();
              return released.promise;
            },
          });
        default:
          return fail(new DormouseError("internal", `the spawner sent a frame of unknown type ${type}`));
      }
    };
    const data = guarded(frameReader(onFrame), fail);
    listen(socket, { data, error: (cause) => fail(unreachable(cause)), close: () => fail(unreachable()) });
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    else if (payload) socket.write(encodeFrame(frame.start, payload));
  });
}

/** Sends input in pieces as the process takes them; a caller waits until its own has been taken. */
function inputWindow(socket: Socket) {
  const queue: { bytes: Uint8Array | undefined; done: () => void }[] = [];
  const waiting: { left: number; done: () => void }[] = [];
  let room = stdinWindowBytes;
  let hasEnded = false;
  const pump = () => {
    for (let next = queue[0]; next && room > 0; next = queue[0]) {
      if (!next.bytes) {
        queue.shift();
        socket.write(encodeFrame(frame.stdinClose));
        next.done();
        continue;
      }
      const piece = next.bytes.subarray(0, room);
      socket.write(encodeFrame(frame.stdin, piece));
      room -= piece.length;
      const isLast = piece.length === next.bytes.length;
      waiting.push({ left: piece.length, done: isLast ? next.done : () => {} });
      if (isLast) queue.shift();
      else next.bytes = next.bytes.subarray(piece.length);
    }
  };
  const add = (bytes: Uint8Array | undefined) =>
    new Promise<void>((done) => {
      if (hasEnded || bytes?.length === 0) return done();
      queue.push({ bytes, done });
      pump();
    });
  return {
    write: (bytes: Uint8Array) => add(bytes),
    close: () => add(undefined),
    taken(count: number) {
      room += count;
      let left = count;
      for (let first = waiting[0]; first && left > 0; first = waiting[0]) {
        const part = Math.min(left, first.left);
        first.left -= part;
        left -= part;
        if (first.left > 0) break;
        waiting.shift();
        first.done();
      }
      pump();
    },
    end() {
      hasEnded = true;
      for (const { done } of [...waiting.splice(0), ...queue.splice(0)]) done();
    },
  };
}

function exitOf(content: Buffer): ProcessExit {
  const signalNumber = content.readUInt32LE(4);
  if (signalNumber === 0) return { exitCode: content.readUInt32LE(0), signal: null, lost: false };
  return { exitCode: 128 + signalNumber, signal: signalName(signalNumber), lost: false };
}

function signalName(number: number): string {
  const names = Object.entries(constants.signals).find(([, value]) => value === number);
  return names?.[0] ?? `SIG${number}`;
}

function unreachable(cause?: unknown): DormouseError {
  return new DormouseError("unavailable", "the machine's process starter does not answer", { cause });
}

function tooLong(): DormouseError {
  return new DormouseError("invalid_argument", "command and env together are larger than the machine takes (2 MiB)");
}

function operationError(name: string, content: Buffer): DormouseError {
  const { code, stage } = failureOf(content);
  return new DormouseError("internal", `${name} failed at ${stage}: ${code}`, { details: { stage, errno: code } });
}

function failureOf(content: Buffer): { code: string; stage: string } {
  const number = content.readUInt32LE(0);
  const known = Object.entries(constants.errno).find(([, value]) => value === number);
  return { code: known?.[0] ?? `errno ${number}`, stage: content.toString("utf8", 4) };
}

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "not_found",
  ENOTDIR: "not_found",
  EACCES: "permission_denied",
  EPERM: "permission_denied",
  ENOMEM: "resource_exhausted",
  EAGAIN: "resource_exhausted",
  EMFILE: "resource_exhausted",
  ENFILE: "resource_exhausted",
  E2BIG: "invalid_argument",
  ENOEXEC: "invalid_argument",
  ENAMETOOLONG: "invalid_argument",
};

function startError(request: SpawnRequest | undefined, content: Buffer): DormouseError {
  const { code, stage } = failureOf(content);
  const details = { stage, errno: code };
  const kind = codes[code] ?? "internal";
  // The machine no longer takes this client's token: another one has it by now.
  if (stage === "token")
    return new DormouseError("unavailable", "the machine has another identity by now", { details });
  const program = request?.shell ? "the user's shell" : (request?.arguments[0] ?? "");
  if (stage === "cwd") {
    const why = code === "EACCES" ? "may not be entered" : "is not a folder of the machine";
    return new DormouseError(kind, `cwd: ${request?.cwd} ${why}`, { details });
  }
  if (stage === "user") return new DormouseError(kind, `user: no user ${request?.user} in the machine`, { details });
  if (stage === "exec" && code === "E2BIG") return tooLong();
  if (stage === "exec") {
    const why = { ENOENT: "is not there", EACCES: "may not be executed", ENOEXEC: "is no program" }[code] ?? code;
    return new DormouseError(kind, `command: ${program} ${why}`, { details });
  }
  return new DormouseError(kind, `${program} could not be started (${stage}: ${code})`, { details });
}
