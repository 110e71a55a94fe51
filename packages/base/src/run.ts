import { spawn } from "node:child_process";
import { DormouseError } from "./errors.ts";

/** How {@link run} starts its command. */
export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Written to the command's standard input, which is then closed. */
  input?: string | Uint8Array;
  /** The command is killed after this; default 60 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Receives each line of standard output and error as it comes. */
  onLine?: (line: string) => void;
  /** Exit codes that count as success; default only 0. */
  okCodes?: readonly number[];
}

/** What a finished command left. Output beyond 8 MiB per stream is dropped from its beginning. */
export interface RunResult {
  code: number;
  stdout: string;
  stderr: string;
}

const maxOutputBytes = 8 * 1024 * 1024;

/**
 * Runs a command of the host to its end, without a shell.
 * @throws DormouseError `internal` with the command and the tail of its error output
 *   when it fails, `deadline_exceeded` when it takes too long, `not_found` when there
 *   is no such command. The process is gone in every case.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: options.env, stdio: ["pipe", "pipe", "pipe"] });
    const stdout = collect(child.stdout, options.onLine);
    const stderr = collect(child.stderr, options.onLine);
    let failure: DormouseError | undefined;
    const end = (error: DormouseError) => {
      failure ??= error;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(
      () => end(new DormouseError("deadline_exceeded", `${command} took longer than ${timeoutMs} ms`)),
      timeoutMs,
    );
    const onAbort = () => end(DormouseError.from(options.signal?.reason, "cancelled"));
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener("abort", onAbort, { once: true });
    const finish = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    };
    child.on("error", (error: NodeJS.ErrnoException) => {
      finish();
      const missing = error.code === "ENOENT";
      reject(
        new DormouseError(missing ? "not_found" : "internal", missing ? `no command ${command} here` : error.message, {
          cause: error,
        }),
      );
    });
    child.on("close", (code, signal) => {
      finish();
      if (failure) return reject(failure);
      const result = { code: code ?? -1, stdout: stdout(), stderr: stderr() };
      if (code !== null && (options.okCodes ?? [0]).includes(code)) return resolve(result);
      const tail = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
      const how = signal ? `was ended by ${signal}` : `ended with ${code}`;
      reject(new DormouseError("internal", `${command} ${args.join(" ")} ${how}: ${tail}`, { details: { code } }));
    });
    child.stdin.on("error", () => {
      // A command that does not read its input closes the pipe; its exit code says what matters.
    });
    child.stdin.end(options.input);
  });
}

function collect(stream: NodeJS.ReadableStream, onLine?: (line: string) => void): () => string {
  let chunks: Buffer[] = [];
  let size = 0;
  let partial = "";
  stream.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > 2 * maxOutputBytes) {
      chunks = [Buffer.concat(chunks).subarray(-maxOutputBytes)];
      size = maxOutputBytes;
    }
    if (!onLine) return;
    const lines = (partial + chunk.toString()).split(/[\r\n]+/);
    partial = lines.pop() ?? "";
    for (const line of lines) if (line) onLine(line);
  });
  stream.on("end", () => {
    if (partial && onLine) onLine(partial);
  });
  return () => Buffer.concat(chunks).subarray(-maxOutputBytes).toString();
}
