import { readFile } from "node:fs/promises";
import { disposer } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EgressWorld, pretendEgressWorld, trialPolicy } from "../packages/network/src/testing/pretend-egress.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

// The table of packages/network/src/egress/egress.integration.test.ts from inside a real machine, by a user with sudo.
interface Attempt {
  name: string;
  expect: "answered" | "blocked";
}
interface Outcome {
  outcome: string;
  detail: string;
}

const owned = disposer();
const script = "/tmp/attempts.py";
let pretended: EgressWorld;
let platform: TestPlatform;
let workspace: Workspace;

beforeAll(async () => {
  pretended = await pretendEgressWorld("dmegmach");
  owned.add(() => pretended[Symbol.asyncDispose]());
  platform = await startTestPlatform({ egressMode: "none", resolver: pretended.internet.address });
  owned.add(async () => platform[Symbol.asyncDispose]());
  const { connection } = platform;
  workspace = await Workspace.create({ connection, name: "tries" });
  await workspace.egress.set({ allow: [...trialPolicy.allow], deny: [...trialPolicy.deny] });
  const text = await readFile(new URL("../packages/network/src/testing/attempts.py", import.meta.url), "utf8");
  await workspace.files.write(script, text);
});
afterAll(() => owned[Symbol.asyncDispose]());

/** One line each; a process for all, as each start of Python takes a second under emulation. */
async function ask<T>(target: Workspace, lines: readonly string[]): Promise<T[]> {
  const command = `DEVICE=$(ip -o route show default | sed 's/.* dev \\([^ ]*\\).*/\\1/') exec python3 ${script}`;
  const options = { user: "root", stdin: `${lines.join("\n")}\n`, timeoutMs: 400_000 };
  const { stdout, stderr, exitCode } = await target.exec(["sh", "-c", command], options);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => JSON.parse(line) as T);
}

test("no way of the table gets out of a machine, and what is allowed works", { timeout: 600_000 }, async () => {
  const [table = []] = await ask<Attempt[]>(workspace, ["list"]);
  expect(table.filter((attempt) => attempt.expect === "blocked").length).toBeGreaterThanOrEqual(60);
  await pretended.forbidden();
  const outcomes = await ask<Outcome>(
    workspace,
    table.map(({ name }) => name),
  );
  const rows = table.map(({ name, expect: expected }, index) => {
    const { outcome = "none", detail = "" } = outcomes[index] ?? {};
    const isRight = (expected === "answered") === (outcome === "answered");
    return { isRight, text: `${isRight ? "ok   " : "WRONG"} ${name}: ${outcome} (${detail})` };
  });
  console.log(rows.map(({ text }) => text).join("\n"));
  expect(rows.filter(({ isRight }) => !isRight)).toEqual([]);
  expect((await pretended.forbidden()).forbidden).toEqual([]);
});

test("the policy goes along through sleep and into forks, and a change reaches what runs", {
  timeout: 300_000,
}, async () => {
  const ways = ["TLS to an allowed name", "TLS with another name of the same address"];
  const outcomesOf = async (target: Workspace) => (await ask<Outcome>(target, ways)).map(({ outcome }) => outcome);
  await workspace.hibernate();
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
  const [fork] = await workspace.fork();
  if (!fork?.workspace) throw fork?.error ?? new Error("no fork");
  expect(await outcomesOf(fork.workspace)).toEqual(["answered", "refused"]);
  await fork.workspace.egress.deny("allowed.test");
  expect(await outcomesOf(fork.workspace)).toEqual(["refused", "refused"]);
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
  const { refusals } = await fork.workspace.egress.log();
  expect(refusals).toEqual(expect.arrayContaining([expect.objectContaining({ name: "allowed.test", rule: null })]));
  expect((await pretended.forbidden()).forbidden).toEqual([]);
  await platform.restart();
  workspace = await Workspace.connect(workspace.id, { connection: platform.connection });
  expect(await outcomesOf(workspace)).toEqual(["answered", "refused"]);
});
