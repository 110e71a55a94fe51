import { DormouseError } from "@dormouse/base";
import { type ExecResult, fromRpcError, limits } from "@dormouse/contract";
import {
  type Command,
  type CommandDefaults,
  type CommandOptions,
  createGuestClient,
  launch,
  requestOf,
  resultOf,
  waitForExit,
} from "@dormouse/guest";
import { fetchOver } from "./fetch-over.ts";
import type { GuestAddress } from "./guest-address.ts";

/** A command as `exec.run` of the guest contract takes it. */
export interface RunOptions extends CommandOptions {
  /** Base64. */
  stdin?: string | undefined;
  maxOutputBytes?: number | undefined;
  waitMs?: number | undefined;
}

/** After this, or with this much output, a command is one that somebody may want to look after: the agent's. */
const shortMs = 250;
const shortBytes = 256 * 1024;

/**
 * `exec.run` for a machine whose agent need not be awake: the machine's process starter runs the command, and only one
 * that goes on is handed to the agent, whose list it is in from then on. The agent is a large program, and the first
 * thing it does after a restore takes as long as the restore or longer; most commands are over by then.
 * @throws DormouseError as the agent's `exec.run` does.
 */
export async function runCommand(
  guest: GuestAddress,
  defaults: CommandDefaults,
  options: RunOptions,
  signal?: AbortSignal,
): Promise<ExecResult> {
  const startedMs = performance.now();
  const { address, port, token, connections, spawner } = guest;
  const agent = () => createGuestClient({ baseUrl: `http://${address}:${port}`, token, fetch: fetchOver(connections) });
  // Input comes with a window that only one owner can keep.
  if (options.stdin !== undefined) {
    const { stdin, ...rest } = options;
    return await agent().exec.run({ ...rest, stdin }, { signal });
  }
  const { waitMs = Number.POSITIVE_INFINITY, timeoutMs, maxOutputBytes = limits.execOutputBytes } = options;
  const command = await launch({
    start: (handlers) => spawner.spawn(requestOf(defaults, options), handlers, signal),
    logBytes: maxOutputBytes,
    timeoutMs,
  });
  const isShort = await waitForExit(command, { waitMs: Math.min(shortMs, waitMs), outputBytes: shortBytes, signal });
  if (isShort) return resultIfKnown(command, startedMs);
  if (signal?.aborted) {
    command.handle.kill();
    throw new DormouseError("cancelled", "the call was ended by its client, and the command with it");
  }
  const released = await command.handle.release();
  if (!released) return resultIfKnown(command, startedMs);
  const passedMs = performance.now() - startedMs;
  const left = (limitMs: number | undefined) =>
    limitMs === undefined || limitMs === Number.POSITIVE_INFINITY
      ? undefined
      : Math.max(1, Math.round(limitMs - passedMs));
  try {
    const result = await agent().exec.adopt(
      {
        name: released.name,
        command: options.command,
        startedMs: command.startedMs,
        output: outputOf(command),
        timeoutMs: left(timeoutMs),
        waitMs: left(options.waitMs),
        maxOutputBytes,
      },
      { signal },
    );
    const { log } = command;
    // What was dropped before the hand-over is nothing that the agent has seen.
    const truncated = result.truncated || log.hasDropped("stdout") || log.hasDropped("stderr");
    return { ...result, truncated, durationMs: durationSince(startedMs) };
  } catch (caught) {
    const error = fromRpcError(caught);
    if (error.code !== "deadline_exceeded") throw error;
    // The agent has only seen the last part of the waiting.
    const message = `the command still runs after ${options.waitMs} ms`;
    throw new DormouseError(error.code, message, { details: error.details });
  } finally {
    released.abandon();
  }
}

/** A process that was lost with its machine has no result. */
function resultIfKnown(command: Command, startedMs: number): ExecResult {
  if (command.exit?.lost) {
    throw new DormouseError("unavailable", "the machine went away while the command ran");
  }
  return resultOf(command, durationSince(startedMs));
}

function outputOf({ log }: Command): { stream: "stdout" | "stderr"; data: string }[] {
  const output: { stream: "stdout" | "stderr"; data: string }[] = [];
  let offset = 0;
  for (let piece = log.next(offset); piece; piece = log.next(offset)) {
    output.push({ stream: piece.stream, data: piece.bytes.toString("base64") });
    offset = piece.offset + piece.bytes.length;
  }
  return output;
}

const durationSince = (startedMs: number) => Math.round((performance.now() - startedMs) * 10) / 10;
