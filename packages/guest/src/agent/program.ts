import { DormouseError } from "@dormouse/base";
import type { Spawner, SpawnRequest } from "../process/spawner.ts";

/** How {@link runProgram} runs. */
export interface ProgramOptions {
  stdin?: string | Uint8Array;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Output kept of each stream; beyond it standard output ends the program, standard error loses its beginning. */
  maxOutputBytes?: number;
  /** Takes standard output as it comes; nothing of it is kept then. Returning false ends the program. */
  onStdout?: (bytes: Buffer) => boolean;
  onStderr?: (bytes: Buffer) => void;
}

/** What a program left. */
export interface ProgramResult {
  exitCode: number;
  stdout: Buffer;
  stderr: string;
  /** It was ended because it wrote more than was wanted. */
  isCut: boolean;
}

const defaultOutputBytes = 16 * 1024 * 1024;
const stderrBytes = 64 * 1024;

/**
 * Runs one of the machine's programs for the agent's own use, as the user.
 * @throws DormouseError `unimplemented` when the machine's image lacks the program, `deadline_exceeded`,
 *   `cancelled`. It has ended in every case.
 */
export async function runProgram(
  spawner: Spawner,
  request: SpawnRequest,
  options: ProgramOptions,
): Promise<ProgramResult> {
  const [name = ""] = request.arguments;
  options.signal?.throwIfAborted();
  const maxBytes = options.maxOutputBytes ?? defaultOutputBytes;
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let stderr = Buffer.alloc(0);
  let isCut = false;
  let failure: DormouseError | undefined;
  const { promise: ended, resolve: end } = Promise.withResolvers<number>();
  let kill = () => {};

  const cut = () => {
    isCut = true;
    kill();
  };
  const onOutput = (stream: "stdout" | "stderr", bytes: Buffer) => {
    if (stream === "stderr") {
      options.onStderr?.(bytes);
      stderr = Buffer.concat([stderr, bytes]).subarray(-stderrBytes);
    } else if (isCut) {
      // Already ended; what was on its way is of no interest.
    } else if (options.onStdout) {
      if (!options.onStdout(bytes)) cut();
    } else {
      kept.push(bytes.subarray(0, maxBytes - keptBytes));
      keptBytes += bytes.length;
      if (keptBytes > maxBytes) cut();
    }
  };
  const stdin = options.stdin;
  const process = await spawner
    .spawn({ ...request, stdin: stdin !== undefined }, { onOutput, onExit: (exit) => end(exit.exitCode) })
    .catch((error: DormouseError) => {
      const isMissing = error.details.stage === "exec" && error.code === "not_found";
      if (isMissing) throw new DormouseError("unimplemented", `${name} is not installed in this workspace's image`);
      throw error;
    });
  kill = () => process.kill();
  if (isCut) kill();
  if (stdin !== undefined) {
    void process.write(Buffer.from(stdin));
    void process.closeInput();
  }
  const stop = (error: DormouseError) => {
    failure ??= error;
    kill();
  };
  const timer = setTimeout(
    () => stop(new DormouseError("deadline_exceeded", `${name} took longer than ${options.timeoutMs} ms`)),
    options.timeoutMs,
  );
  const onAbort = () => stop(new DormouseError("cancelled", `${name} was ended because its caller left`));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  try {
    const exitCode = await ended;
    if (failure) throw failure;
    return { exitCode, stdout: Buffer.concat(kept), stderr: stderr.toString("utf8"), isCut };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}
