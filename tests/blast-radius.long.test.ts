// Promise 8: what goes wrong in one machine stays in it. Its neighbour answers as before, its own agent still answers, and
// the host's disk does not fill up with what it says.
import { readFile } from "node:fs/promises";
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

/** Processor seconds that a machine has used, as the kernel counts them for its VMM. */
async function usedSeconds({ id }: Workspace): Promise<number> {
  const { machines } = await platform.hostCall<{ machines: { workspaceId: string; pid: number }[] }>(
    "machines/list",
    {},
  );
  const pid = machines.find(({ workspaceId }) => workspaceId === id)?.pid;
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Each goes on for as long as it is looked at. */
const attacks: readonly [name: string, command: string][] = [
  ["a fork bomb", "bomb() { bomb | bomb & }; bomb; sleep 1000"],
  ["40 GB of memory", `while :; do python3 -c "all = []\nwhile True: all.append(bytearray(1 << 26))"; done`],
  ["a full disk", "while :; do cat /dev/zero > full; done"],
  ["gigabytes of output", "yes 'this is only said to fill a log somewhere'"],
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
  const [usedBefore, startedMs] = [await usedSeconds(machine), performance.now()];
  const meanwhileMs = await latencyMs();
  const used = ((await usedSeconds(machine)) - usedBefore) / ((performance.now() - startedMs) / 1000);
  const askedMs = performance.now();
  const entries = await eventually("its own agent answers still", () => machine.files.list("/"), 60_000);
  expect(entries.map((entry) => entry.name)).toContain("etc");
  process.stdout.write(
    `${name}: neighbour ${Math.round(quietMs)} ms quiet, ${Math.round(meanwhileMs)} ms meanwhile; its agent ${Math.round(performance.now() - askedMs)} ms; it used ${used.toFixed(2)} processors\n`,
  );
  expect(used, "processors that it used meanwhile").toBeGreaterThan(0.3);
  expect(await logsMib()).toBeLessThanOrEqual(logsBefore + logMib);
  await machine.kill();
  expect(meanwhileMs / quietMs, "times as long as in quiet").toBeLessThanOrEqual(slowdown);
});
