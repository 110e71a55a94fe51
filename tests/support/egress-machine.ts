import { readFile } from "node:fs/promises";
import type { Workspace } from "@dormouse/sdk";
import { expect } from "vitest";
import { type EgressWorld, trialPolicy } from "../../packages/network/src/testing/pretend-egress.ts";
import { eventually } from "./eventually.ts";

// The table of packages/network/src/testing/attempts.py from inside a real machine, by a user with sudo.
interface Attempt {
  name: string;
  expect: "answered" | "blocked";
}

/** What became of an attempt. */
export interface Outcome {
  outcome: "answered" | "refused" | "silence";
  detail: string;
}

const script = "/tmp/attempts.py";
const command = `DEVICE=$(ip -o route show default | sed 's/.* dev \\([^ ]*\\).*/\\1/') exec python3 ${script}`;

/** Gives a workspace the policy that the table is about, and the table. */
export async function prepareAttempts(workspace: Workspace): Promise<void> {
  await workspace.egress.set({ mode: "none", allow: [...trialPolicy.allow], deny: [...trialPolicy.deny] });
  const text = await readFile(new URL("../../packages/network/src/testing/attempts.py", import.meta.url), "utf8");
  await workspace.files.write(script, text);
}

/** One line each; a process for all, as each start of Python takes a second under emulation. */
export async function attempt<T = Outcome>(workspace: Workspace, lines: readonly string[]): Promise<T[]> {
  const options = { user: "root", stdin: `${lines.join("\n")}\n`, timeoutMs: 400_000 };
  const { stdout, stderr, exitCode } = await workspace.exec(["sh", "-c", command], options);
  if (exitCode !== 0) throw new Error(stderr);
  const answers = stdout.trim().split("\n").slice(1);
  return answers.map((line) => JSON.parse(line) as T);
}

/** Tries every way of the table, prints what became of each, and makes sure that nothing got out and what is allowed works. */
export async function expectNoWayOut(workspace: Workspace, world: EgressWorld): Promise<void> {
  const [table = []] = await attempt<Attempt[]>(workspace, ["list"]);
  expect(table.filter((each) => each.expect === "blocked").length).toBeGreaterThanOrEqual(60);
  await world.forbidden();
  const names = table.map(({ name }) => name);
  const outcomes = await attempt(workspace, names);
  const rows = table.map(({ name, expect: expected }, index) => {
    const { outcome = "none", detail = "" } = outcomes[index] ?? {};
    const isRight = (expected === "answered") === (outcome === "answered");
    return { isRight, text: `${isRight ? "ok   " : "WRONG"} ${name}: ${outcome} (${detail})` };
  });
  console.log(`${rows.map(({ text }) => text).join("\n")}\n${rows.length} ways from inside a machine`);
  expect(rows.filter(({ isRight }) => !isRight)).toEqual([]);
  expect((await world.forbidden()).forbidden).toEqual([]);
}

/** What went through while a workspace went on trying: see {@link startTraffic}. */
export interface Traffic {
  /** How often what is allowed was answered, and what is not. */
  allowed: number;
  forbidden: number;
  /** The longest time without an answer to what is allowed, in seconds. */
  longestGapSeconds: number;
}

/** Has a workspace try what is allowed and what is not for a time; tells what became of it once the time is over. */
export async function startTraffic(workspace: Workspace, seconds: number): Promise<() => Promise<Traffic>> {
  const file = `/tmp/traffic-${seconds}`;
  const line = `rm -f ${file}; echo traffic:${seconds} | (${command}) > ${file}.new; mv ${file}.new ${file}`;
  await workspace.exec(["sh", "-c", line], { user: "root", background: true });
  return async () => {
    const look = async () => {
      const { stdout, exitCode } = await workspace.exec(["tail", "-1", file]);
      return exitCode === 0 && stdout;
    };
    // While a part of the platform is away nobody can be asked.
    const { detail } = JSON.parse(await eventually("the time is over", look, (seconds + 60) * 1_000)) as Outcome;
    const [allowed = 0, forbidden = 0, longestGapSeconds = 0] = detail.split(" ").map(Number);
    return { allowed, forbidden, longestGapSeconds };
  };
}
