import { spawn } from "node:child_process";
import { once } from "node:events";
import { DormouseError } from "./errors.ts";
import { withTimeout } from "./time.ts";

/** How long and how {@link withFileLock} waits. */
export interface FileLockOptions {
  /** How long to wait for whoever holds the lock; default 10 min. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * Runs `work` while this process holds an exclusive lock on `path`, across all
 * processes of the machine. The file is created when it is missing and stays.
 *
 * The lock is the kernel's (flock(2)), held by a child process that ends with its
 * standard input: whoever dies, however suddenly, leaves no stale lock behind.
 * @throws DormouseError `deadline_exceeded` naming the file when the lock stays taken.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>, options: FileLockOptions = {}): Promise<T> {
  const holder = spawn("flock", ["--exclusive", "--no-fork", path, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = once(holder, "exit");
  // An error event is turned into a rejection of `held`; nothing else may be thrown from it.
  const held = new Promise<void>((resolve, reject) => {
    holder.once("error", reject);
    holder.stdout.once("data", () => resolve());
    ended.then(
      () => reject(new DormouseError("internal", `no lock on ${path}: flock ended before it held it`)),
      reject,
    );
  });
  try {
    await withTimeout(`waiting for the lock ${path}`, options.timeoutMs ?? 600_000, () => held, options.signal);
    return await work();
  } finally {
    held.catch(() => {
      // Reported by the await above, or of no interest once the time-out has spoken.
    });
    holder.stdin.destroy();
    // Before the lock is held nothing reads that input, so the waiting process must be ended.
    holder.kill("SIGKILL");
    await ended.catch(() => {});
  }
}
