// Promise 8: what goes wrong in one machine stays in it. Its neighbour answers as before, its own agent still answers, and
// the host's disk does not fill up with what it says.
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const samples = 40;
const slowdown = 1.5;
const logMib = 10;

let platform: TestPlatform;
let neighbour: Workspace;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
  neighbour = await Workspace.create({ connection: platform.connection, name: "neighbour" });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

/** How long the neighbour takes for a small command, in the middle of many. */
async function latencyMs(): Promise<number> {
  const times: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const startedMs = performance.now();
    expect((await neighbour.exec("echo alive")).stdout).toBe("alive\n");
    times.push(performance.now() - startedMs);
  }
  return times.sort((a, b) => a - b)[samples / 2] ?? Number.NaN;
}

async function logsMib(): Promise<number> {
  const { stdout } = await run("du", ["-sm", join(platform.dataDir, "data/logs"), join(platform.dataDir, "data/vmm")]);
  return stdout.split("\n").reduce((sum, line) => sum + (Number.parseInt(line, 10) || 0), 0);
}

const attacks: readonly [name: string, command: string][] = [
  ["a fork bomb", "bomb() { bomb | bomb & }; bomb; sleep 1000"],
  [
    "40 GB of memory",
    `python3 -c "import time\nall = []\nwhile True: all.append(bytearray(1 << 26)); time.sleep(0.01)"`,
  ],
  ["a full disk", "cat /dev/zero > full; sleep 1000"],
  ["a gigabyte of output", "yes 'this is only said to fill a log somewhere' | head -c 1000000000"],
];

it.each(attacks)("%s in one machine does not reach its neighbour", async (name, command) => {
  // Small, so that its disk is full soon; it boots for that.
  const resources = { vcpus: 1, memoryMib: 1024, diskGib: 2 };
  const machine = await Workspace.create({ connection: platform.connection, name: "attacker", resources });
  const logsBefore = await logsMib();
  // Both machines are up and still: the first measurement is of one that has just started.
  await latencyMs();
  const quietMs = await latencyMs();
  await machine.exec(command, { background: true });
  // Until it is in full swing.
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const meanwhileMs = await latencyMs();
  const askedMs = performance.now();
  const entries = await eventually("its own agent answers still", () => machine.files.list("/"), 60_000);
  expect(entries.map((entry) => entry.name)).toContain("etc");
  process.stdout.write(
    `${name}: neighbour ${Math.round(quietMs)} ms quiet, ${Math.round(meanwhileMs)} ms meanwhile; its agent ${Math.round(performance.now() - askedMs)} ms\n`,
  );
  expect(await logsMib()).toBeLessThanOrEqual(logsBefore + logMib);
  await machine.kill();
  expect(meanwhileMs / quietMs, "times as long as in quiet").toBeLessThanOrEqual(slowdown);
});
