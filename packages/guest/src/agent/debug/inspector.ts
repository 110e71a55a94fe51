import { readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { DormouseError } from "@dormouse/base";
import { requestOf } from "../../process/command.ts";
import type { Spawner } from "../../process/spawner.ts";
import type { PortService } from "../ports.ts";
import type { Machine } from "../session.ts";

/** A busy program opens it when it comes to it; under emulation that takes its time. */
const openMs = 20_000;
const lookMs = 100;
const answerMs = 2_000;

/** What {@link openInspector} works with. */
export interface InspectorOptions {
  machine: Machine;
  spawner: Spawner;
  ports: Pick<PortService, "list">;
}

/**
 * Has a Node.js that runs listen for a debugger, by the signal that it has for this, and answers with the port of the machine's
 * loopback. One that listens already is left as it is.
 * @param pid of a process of the workspace's user, see {@link listProcesses}.
 * @throws DormouseError `not_found` when there is no such process, `invalid_argument` when it is no Node.js, which the signal
 *   would end, `permission_denied` when it is another user's, `deadline_exceeded` when it does not come to it in 20 s.
 */
export async function openInspector(
  { machine, spawner, ports }: InspectorOptions,
  pid: number,
  signal?: AbortSignal,
): Promise<number> {
  const program = programOf(machine.root, pid);
  const name = program.split("/").at(-1) ?? "";
  if (!/^node(js)?[-\d.]*$/.test(name)) {
    throw new DormouseError(
      "invalid_argument",
      `pid: process ${pid} is ${program}; only a Node.js listens when it is told to`,
    );
  }
  const known = await inspectorOf(pid, ports);
  if (known !== undefined) return known;
  await tellToListen(machine, spawner, pid);
  for (const endMs = performance.now() + openMs; performance.now() < endMs; ) {
    await delay(lookMs, undefined, { signal, ref: false });
    const port = await inspectorOf(pid, ports);
    if (port !== undefined) return port;
    programOf(machine.root, pid);
  }
  throw new DormouseError(
    "deadline_exceeded",
    `process ${pid} was told to listen for a debugger and does not: it is busy, or another process listens on its port (9229, unless it was started with --inspect-port)`,
  );
}

function programOf(root: string, pid: number): string {
  try {
    return readlinkSync(`${root}/proc/${pid}/exe`).replace(/ \(deleted\)$/, "");
  } catch {
    throw new DormouseError("not_found", `pid: no process ${pid} runs here`);
  }
}

/** Of what a process listens on, the port that answers as an inspector does. */
async function inspectorOf(pid: number, ports: Pick<PortService, "list">): Promise<number | undefined> {
  const own = ports.list().filter((port) => port.pid === pid && port.address.startsWith("127."));
  for (const { port, address } of own) {
    try {
      const response = await fetch(`http://${address}:${port}/json/version`, { signal: AbortSignal.timeout(answerMs) });
      const { Browser: program } = (await response.json()) as { Browser?: unknown };
      if (typeof program === "string" && program.startsWith("node.js/")) return port;
    } catch {
      // It is the program's own, and speaks something else.
    }
  }
  return undefined;
}

/** By the workspace's user, who may not reach others' processes. */
async function tellToListen(machine: Machine, spawner: Spawner, pid: number): Promise<void> {
  const request = requestOf(machine.session, { command: ["sh", "-c", 'kill -s USR1 "$1"', "sh", String(pid)] });
  const { promise, resolve } = Promise.withResolvers<number>();
  let complaint = "";
  await spawner.spawn(request, {
    onOutput: (_, bytes) => {
      complaint += bytes.toString("utf8");
    },
    onExit: ({ exitCode }) => resolve(exitCode),
  });
  if ((await promise) === 0) return;
  throw new DormouseError("permission_denied", `pid: process ${pid} cannot be told to listen: ${complaint.trim()}`);
}
