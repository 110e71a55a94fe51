// A workspace that comes from the store runs before all of it is there; whatever dies meanwhile, it goes on or comes back.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep } from "@dormouse/base";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { readKernelState } from "./support/kernel-state.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

/** A machine that dies sooner is not brought back: it would die for ever. */
const crashLoopMs = 30_000;
let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
});
afterAll(async () => platform?.[Symbol.asyncDispose]());

/** A workspace that holds 350 MB in memory, just gone back to a snapshot of itself, and their hash. */
async function goneBack() {
  const workspace = await Workspace.create({ connection: platform.connection, hibernateAfterSeconds: null });
  await workspace.exec("head -c 350000000 /dev/urandom > /dev/shm/blob");
  const sum = (await workspace.exec("sha256sum /dev/shm/blob", { timeoutMs: 120_000 })).stdout;
  const { id } = await workspace.snapshot();
  await workspace.restore(id);
  return { workspace, sum };
}

const sumOf = async (workspace: Workspace) =>
  (await workspace.exec("sha256sum /dev/shm/blob", { timeoutMs: 120_000 })).stdout;

async function fillingOf(workspace: Workspace): Promise<unknown> {
  const machines = join(platform.dataDir, "data/machines");
  for (const name of await readdir(machines)) {
    const record = await readFile(join(machines, name, "machine.json"), "utf8").then(JSON.parse, () => undefined);
    if (record?.workspaceId === workspace.id) return record.filling;
  }
  throw new Error("the machine has no record");
}

async function serving(): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(platform.dataDir)) found.push(Number(pid));
  }
  return found;
}

it("goes on when the host daemon is killed while its memory is fetched: the next one fetches the rest", async () => {
  const { workspace, sum } = await goneBack();
  const { host } = platform.platform.services;
  const before = host.pid;
  if (before === undefined) throw new Error("the host does not run");
  const bootId = (await workspace.exec("cat /proc/sys/kernel/random/boot_id")).stdout;
  process.kill(before, "SIGKILL");
  expect(await fillingOf(workspace)).toMatchObject({ workspaceId: workspace.id });
  await eventually("the host runs again", async () => host.pid !== undefined && host.pid !== before);
  expect(await eventually("it answers again", () => sumOf(workspace))).toBe(sum);
  expect((await workspace.exec("cat /proc/sys/kernel/random/boot_id")).stdout).toBe(bootId);
  await eventually("all is there", async () => (await fillingOf(workspace)) === null);
  await workspace.hibernate();
  expect(await sumOf(workspace)).toBe(sum);
  await workspace.kill();
});

it("comes back when what shows it its memory is killed", async () => {
  const { workspace, sum } = await goneBack();
  await sleep(crashLoopMs + 1_000);
  for (const pid of await serving()) process.kill(pid, "SIGKILL");
  // What it reads now, it has not read since it went back.
  await workspace.exec("sha256sum /dev/shm/blob").catch(() => {});
  const info = await eventually("it went back", async () => {
    const { state, reason } = (await workspace.refresh()).info;
    return state === "running" && reason !== null && reason;
  });
  expect(info).toMatch(/it goes on from its snapshot/);
  expect(await sumOf(workspace)).toBe(sum);
  await workspace.kill();
  const { host } = platform.platform.services;
  await eventually("nothing is left", async () => {
    const dataDir = join(platform.dataDir, "data");
    const { servingProcesses } = await readKernelState({ namePrefix: "dmtest", dataDir, pids: [host.pid ?? 0] });
    return servingProcesses === 0;
  });
}, 240_000);
