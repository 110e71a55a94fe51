import { readFileSync } from "node:fs";
import { setPriority } from "node:os";
import { sleep } from "@dormouse/base";

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessIdentity {
  pid: number;
  /** Start time in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  startTicks: string;
}

/**
 * Identity of a process that runs now; undefined when there is none, or only its zombie. One whose first thread has ended
 * is called a zombie too, but it lives, and holds what it has open, until its last thread has ended.
 */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    // No such process: that is the answer.
    return undefined;
  }
  // The command name, in parentheses, may itself hold spaces and parentheses.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [threads, startTicks] = [Number(fields[16]), fields[18]];
  const isOver = state === "X" || (state === "Z" && threads <= 1);
  if (isOver || !startTicks) return undefined;
  return { pid, startTicks };
}

/** Whether exactly this process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
  return identifyProcess(process.pid)?.startTicks === process.startTicks;
}

/** Asks the scheduler for a nice value; where that is not allowed, or the process is gone, it stays as it is. */
export function tryPriority(pid: number, nice: number): void {
  try {
    setPriority(pid, nice);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EPERM" && code !== "EACCES" && code !== "ESRCH") throw error;
  }
}

/** Ends exactly this process at once; nothing happens when it is gone. */
export function killProcess(target: ProcessIdentity): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Resolves true when the process is gone within `timeoutMs`, else false. */
export async function waitForEnd(target: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  for (let delayMs = 1; isAlive(target); delayMs = Math.min(delayMs * 2, 50)) {
    if (performance.now() > endMs) return false;
    await sleep(delayMs);
  }
  return true;
}
