import type { Workspace } from "@dormouse/sdk";
import { expect } from "vitest";
import { eventually } from "./eventually.ts";

/** Fills its memory from a seed, hashes it round after round, and says so; a wrong hash ends it. */
const hasher = `
const { createHash } = require("node:crypto");
const bytes = Buffer.alloc(Number(process.argv[2]) * 1024 * 1024);
for (let at = 0, x = 42; at < bytes.length; at += 4) bytes.writeUInt32LE((x = (Math.imul(x, 1664525) + 1013904223) >>> 0), at);
const hash = () => createHash("sha256").update(bytes).digest("hex");
const first = hash();
let rounds = 0;
const step = () => {
  if (hash() !== first) { require("node:fs").writeFileSync("/workspace/wrong", ""); process.exit(1); }
  // As a whole: a snapshot may be taken at any instant.
  require("node:fs").writeFileSync("/workspace/rounds.new", String(++rounds));
  require("node:fs").renameSync("/workspace/rounds.new", "/workspace/rounds");
  setTimeout(step, 500);
};
step();
`;

/** Runs a command of a workspace that must succeed; answers what it wrote. */
export async function output(workspace: Workspace, command: string): Promise<string> {
  const { exitCode, stdout, stderr } = await workspace.exec(command);
  expect(exitCode, stderr).toBe(0);
  return stdout.trim();
}

/** Starts a program that holds so much memory, by default 16 MB, and keeps comparing it with what it was. */
export async function startHasher(workspace: Workspace, megabytes = 16): Promise<void> {
  await workspace.files.write("/workspace/hasher.js", hasher);
  await workspace.exec(`exec node hasher.js ${megabytes}`, { background: true });
  await eventually("the program hashes its memory", () => output(workspace, "cat /workspace/rounds"), 180_000);
}

/** The program goes on from where it was, and its memory is what it was. Answers its rounds. */
export async function expectGoingOn(workspace: Workspace, atLeast: number): Promise<number> {
  const rounds = async () => Number(await output(workspace, "cat /workspace/rounds"));
  const first = await rounds();
  expect(first).toBeGreaterThanOrEqual(atLeast);
  await eventually("the program goes on", async () => (await rounds()) > first, 120_000);
  expect(await output(workspace, "ls /workspace/wrong 2>/dev/null || echo right")).toBe("right");
  return await rounds();
}
