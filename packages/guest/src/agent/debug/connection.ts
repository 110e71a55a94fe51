import { lstat } from "node:fs/promises";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { DormouseError, sleep } from "@dormouse/base";
import type { Spawner, SpawnRequest } from "../../process/spawner.ts";
import { type DapMessage, dapReader, encodeDap } from "./protocol.ts";

/** Under emulation an adapter's first start reads all of its code. */
const listenMs = 90_000;
const lookMs = 50;
const connectMs = 10_000;
/** What an adapter complained of last is all that explains its end. */
const keptErrorCharacters = 4000;

/** A way to an adapter. */
export interface AdapterConnection {
  send(message: DapMessage): void;
  close(): void;
}

/** What the owner of a connection is told. */
export interface ConnectionHandlers {
  onMessage(message: DapMessage): void;
  /** Once, for whatever reason. */
  onClose(reason: string): void;
}

/** A process that is an adapter, or listens for the sessions of one. */
export interface AdapterProcess {
  connect(handlers: ConnectionHandlers): Promise<AdapterConnection>;
  kill(): void;
}

/** What {@link startAdapter} starts. */
export interface AdapterOptions {
  spawner: Spawner;
  request: SpawnRequest;
  /** The user's root. */
  root: string;
  /** Where it listens in there; without it the process speaks through its standard streams, for one session. */
  socket?: string | undefined;
  /** Program without which it does not start. */
  needs?: string | undefined;
}

/** Starts an adapter's process. @throws DormouseError as the spawner does. */
export async function startAdapter(options: AdapterOptions): Promise<AdapterProcess> {
  const { spawner, request, root, socket, needs } = options;
  let complaint = "";
  let ended: string | undefined;
  let onBytes: ((bytes: Buffer) => void) | undefined;
  const early: Buffer[] = [];
  const onEnd = new Set<(reason: string) => void>();
  const process = await spawner.spawn(
    { ...request, stdin: true },
    {
      onOutput(stream, bytes) {
        if (stream === "stdout" && !socket) {
          if (onBytes) onBytes(bytes);
          else early.push(bytes);
        } else complaint = (complaint + bytes.toString("utf8")).slice(-keptErrorCharacters);
      },
      onExit({ exitCode }) {
        const isMissing = exitCode === 127 && needs;
        const words = complaint.trim() && `: ${complaint.trim()}`;
        ended = isMissing ? `${needs} is not installed in this workspace` : `the debugger ended (${exitCode})${words}`;
        for (const tell of onEnd) tell(ended);
      },
    },
  );
  const kill = () => process.kill();

  const overStreams = (handlers: ConnectionHandlers): AdapterConnection => {
    const close = once((reason: string) => {
      onEnd.delete(close);
      handlers.onClose(reason);
    });
    const read = guarded(handlers, (reason) => {
      kill();
      close(reason);
    });
    onBytes = read;
    onEnd.add(close);
    for (const bytes of early.splice(0)) read(bytes);
    if (ended !== undefined) close(ended);
    return { send: (message) => void process.write(encodeDap(message)), close: kill };
  };

  const overSocket = async (path: string, handlers: ConnectionHandlers): Promise<AdapterConnection> => {
    const connection = await reach(`${root}${path}`, () => ended);
    return over(connection, handlers, () => ended ?? "the debugger ended the session");
  };

  return {
    kill,
    connect: async (handlers) => (socket ? overSocket(socket, handlers) : overStreams(handlers)),
  };
}

/** An adapter that runs in the machine already, and goes on when a session ends. */
export function runningAdapter({ host, port }: { host: string; port: number }): AdapterProcess {
  return {
    kill() {},
    async connect(handlers) {
      const socket = await open({ host, port });
      if (!socket)
        throw new DormouseError("unavailable", `connect: nothing listens on ${host}:${port} in the workspace`);
      return over(socket, handlers, () => "the debugger ended the session");
    },
  };
}

function over(socket: Socket, handlers: ConnectionHandlers, reason: () => string): AdapterConnection {
  const close = once(handlers.onClose);
  socket.on(
    "data",
    guarded(handlers, (problem) => socket.destroy(new Error(problem))),
  );
  socket.on("error", (error) => close(error.message));
  socket.on("close", () => close(reason()));
  return { send: (message) => void socket.write(encodeDap(message)), close: () => socket.destroy() };
}

/** Connects once it listens. @throws DormouseError `failed_precondition` with its own words when it ends instead. */
async function reach(path: string, endedWith: () => string | undefined): Promise<Socket> {
  const untilMs = performance.now() + listenMs;
  for (;;) {
    const reason = endedWith();
    if (reason !== undefined) throw new DormouseError("failed_precondition", reason);
    if (performance.now() > untilMs) {
      throw new DormouseError("deadline_exceeded", `the debugger did not listen within ${listenMs / 1000} s`);
    }
    // Its folder is the user's: what is followed there is a socket and no link to another one.
    const status = await lstat(path).catch(() => undefined);
    const socket = status?.isSocket() ? await open({ path }) : undefined;
    if (socket) return socket;
    await sleep(lookMs);
  }
}

function open(where: NetConnectOpts): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(where);
    socket.setTimeout(connectMs, () => socket.destroy(new Error("it does not answer")));
    socket.once("error", () => resolve(undefined));
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

/** An adapter that sends what cannot be read has ended, and takes nothing else with it. */
function guarded(handlers: ConnectionHandlers, fail: (reason: string) => void): (bytes: Buffer) => void {
  const read = dapReader(handlers.onMessage);
  let hasFailed = false;
  return (bytes) => {
    if (hasFailed) return;
    try {
      read(bytes);
    } catch (error) {
      hasFailed = true;
      fail(DormouseError.from(error).message);
    }
  };
}

function once(work: (reason: string) => void): (reason: string) => void {
  let isDone = false;
  return (reason) => {
    if (!isDone) work(reason);
    isDone = true;
  };
}
