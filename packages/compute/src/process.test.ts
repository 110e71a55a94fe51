import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { identifyProcess, isAlive, killProcess, waitForEnd } from "./process.ts";

test("a process is itself until it ends", async () => {
  const child = spawn("sleep", ["1000"]);
  await once(child, "spawn");
  const identity = identifyProcess(child.pid ?? 0);
  if (!identity) throw new Error("sleep does not run");
  expect(isAlive(identity)).toBe(true);
  expect(await waitForEnd(identity, 1)).toBe(false);
  killProcess(identity);
  expect(await waitForEnd(identity, 5000)).toBe(true);
  // Again, when there is nothing to kill.
  killProcess(identity);
});

test("another process with the same number is not it", async () => {
  const identity = identifyProcess(process.pid);
  if (!identity) throw new Error("this process does not run");
  const other = { ...identity, startTicks: String(Number(identity.startTicks) - 1) };
  expect(isAlive(other)).toBe(false);
  // Would end this test if it were wrong.
  killProcess(other);
  expect(isAlive(identity)).toBe(true);
});

test("a process whose first thread has ended lives on until its last one has", async () => {
  const program = `
import ctypes, threading, time
threading.Thread(target=lambda: time.sleep(1000)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)`;
  const child = spawn("python3", ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  try {
    const state = () => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"))?.[1];
    await expect.poll(state).toBe("Z");
    const identity = identifyProcess(child.pid ?? 0);
    if (!identity) throw new Error("a living process was taken for dead");
    expect(await waitForEnd(identity, 20)).toBe(false);
    killProcess(identity);
    expect(await waitForEnd(identity, 5000)).toBe(true);
  } finally {
    child.kill("SIGKILL");
  }
});
