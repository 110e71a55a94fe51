import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { DormouseError } from "@dormouse/base";

/** What a probe can be asked to do in its namespace. */
export type ProbeRequest =
  /** Listens on a port, TCP and UDP, on all addresses. */
  | { kind: "listen"; port: number }
  /** The datagrams that arrived so far. */
  | { kind: "received" }
  /** Connects, sends so many bytes and waits for the listener's account of them. */
  | { kind: "connect"; host: string; port: number; bytes: number; timeoutMs: number }
  /** Sends a datagram with a source address of the namespace's, and waits for nothing. */
  | { kind: "send"; host: string; port: number; from: string; text: string }
  /** Sends a datagram to each of so many ports from 1 on, each a connection of its own to the kernel. */
  | { kind: "flood"; host: string; ports: number }
  /** Sends a datagram and waits for one back. */
  | { kind: "ask"; host: string; port: number; text: string; timeoutMs: number };

/** A datagram as the listener saw it. */
export interface ReceivedDatagram {
  from: string;
  text: string;
}

/** What became of a request. `silence` is what a dropped packet looks like. */
export type ProbeAnswer =
  | { kind: "done" }
  | { kind: "silence" }
  | { kind: "refused"; reason: string }
  | { kind: "answered"; from: string; bytes: number }
  | { kind: "received"; datagrams: ReceivedDatagram[] };

/** A process in a namespace that sends and receives real packets there. */
export interface Probe extends AsyncDisposable {
  request(request: ProbeRequest): Promise<ProbeAnswer>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a probe in a namespace, or in the host's own when none is named. */
export async function startProbe(namespace?: string): Promise<Probe> {
  const script = fileURLToPath(new URL("probe-process.ts", import.meta.url));
  const command = [process.execPath, script];
  if (namespace) command.unshift("nsenter", `--net=/run/netns/${namespace}`);
  const [file = "", ...args] = command;
  const child: ChildProcess = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const waiting = new Map<number, (answer: ProbeAnswer) => void>();
  let lastId = 0;
  child.on("message", ({ id, answer }: { id: number; answer: ProbeAnswer }) => {
    waiting.get(id)?.(answer);
    waiting.delete(id);
  });
  await once(child, "spawn");
  return {
    request(request) {
      if (!child.connected) throw new DormouseError("unavailable", `the probe in ${namespace ?? "the host"} has ended`);
      const id = ++lastId;
      return new Promise((resolve) => {
        waiting.set(id, resolve);
        child.send({ id, request });
      });
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}
