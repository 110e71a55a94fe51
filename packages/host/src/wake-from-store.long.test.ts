import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, sleep } from "@dormouse/base";
import type { ExecResult, SnapshotRef } from "@dormouse/contract";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { HostService } from "./host-service.ts";
import type { OpenHost } from "./start-host.ts";
import { type HostsInProcess, hostsInProcess, machineDefaults } from "./testing/host-in-process.ts";
import { nearby } from "./testing/slow-store.ts";

const sums = "sha256sum /dev/shm/blob /workspace/blob";
let hosts: HostsInProcess;
let host: OpenHost;
let snapshot: SnapshotRef;
let expected: string;

beforeAll(async () => {
  hosts = await hostsInProcess("dmwake");
  host = await hosts.open();
  // What all start from: 40 MB in memory and as much on the drive, and a process that counts.
  await host.service.lifecycle.create({ ...machineDefaults, workspaceId: "ws-origin", generation: 1 });
  // What it touches first is to be noted before the rest.
  while ((await recordOf("ws-origin")).touched === null) await sleep(100);
  await exec(
    "ws-origin",
    "head -c 40000000 /dev/urandom >/dev/shm/blob; head -c 40000000 /dev/urandom >/workspace/blob",
  );
  expected = (await exec("ws-origin", `sync; ${sums}`)).stdout;
  const { id } = await host.service.snapshots.take({ workspaceId: "ws-origin", generation: 1, reason: "manual" });
  snapshot = { workspaceId: "ws-origin", id };
  await host.service.lifecycle.delete({ workspaceId: "ws-origin", generation: 1, keepSnapshots: true });
}, 240_000);
afterEach(async () => {
  Object.assign(hosts.distance, { error: undefined }, nearby());
  for (const { workspaceId, generation } of host.service.list()) {
    await host.service.lifecycle.delete({ workspaceId, generation, keepSnapshots: true });
  }
  // A host that has it from before does not fetch it again.
  await host.stop({ hibernate: false });
  await expect.poll(() => servers(), { timeout: 20_000 }).toEqual([]);
  host = await hosts.open();
});
afterAll(async () => {
  await host?.stop({ hibernate: false });
  await hosts?.[Symbol.asyncDispose]();
});

const service = (): HostService => host.service;

async function exec(workspaceId: string, command: string): Promise<ExecResult> {
  return await service().run(workspaceId, { command, timeoutMs: 120_000 });
}

/** Starts a workspace from the snapshot, from a store at some distance. */
async function wake(workspaceId: string, distance: { latencyMs: number; bytesPerSecond: number }) {
  Object.assign(hosts.distance, nearby(), distance);
  return await service().lifecycle.create({ ...machineDefaults, workspaceId, generation: 1, snapshot });
}

/** The programs that show files of this platform to machines. */
async function servers(): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(hosts.dataDir)) found.push(Number(pid));
  }
  return found;
}

async function recordOf(workspaceId: string) {
  const machines = join(hosts.dataDir, "machines");
  for (const name of await readdir(machines)) {
    const record = await readFile(join(machines, name, "machine.json"), "utf8").then(JSON.parse, () => undefined);
    if (record?.workspaceId === workspaceId) return record;
  }
  throw new Error(`no record of ${workspaceId}`);
}

test("a machine runs before its memory is there, and is what it was", async () => {
  await wake("ws-lazy", { latencyMs: 5, bytesPerSecond: 8_000_000 });
  expect((await exec("ws-lazy", "cat /proc/uptime")).exitCode).toBe(0);
  const bytesAtFirst = hosts.distance.bytes;
  expect(await recordOf("ws-lazy")).toMatchObject({ filling: snapshot });
  expect(await servers()).toHaveLength(2);
  hosts.distance.bytesPerSecond = 1e9;
  expect((await exec("ws-lazy", `sudo sh -c 'echo 3 > /proc/sys/vm/drop_caches'; ${sums}`)).stdout).toBe(expected);
  await expect.poll(async () => (await recordOf("ws-lazy")).filling, { timeout: 30_000 }).toBe(null);
  expect(bytesAtFirst).toBeLessThan(hosts.distance.bytes * 0.8);
  // Asleep and awake it is a machine like any other.
  await exec("ws-lazy", "echo mine > /workspace/mine");
  await service().lifecycle.hibernate({ workspaceId: "ws-lazy", generation: 1 });
  await expect.poll(() => servers(), { timeout: 10_000 }).toEqual([]);
  await service().lifecycle.wake({ workspaceId: "ws-lazy", generation: 1, env: {} });
  expect((await exec("ws-lazy", `cat /workspace/mine; ${sums}`)).stdout).toBe(`mine\n${expected}`);
});

test("two machines of one snapshot share what is fetched, and a sleep waits for it", async () => {
  const distance = { latencyMs: 5, bytesPerSecond: 30_000_000 };
  await Promise.all([wake("ws-one", distance), wake("ws-two", distance)]);
  expect(await servers()).toHaveLength(2);
  await exec("ws-two", "echo two > /workspace/own");
  await service().lifecycle.hibernate({ workspaceId: "ws-two", generation: 1 });
  expect((await exec("ws-one", sums)).stdout).toBe(expected);
  await service().lifecycle.wake({ workspaceId: "ws-two", generation: 1, env: {} });
  expect((await exec("ws-two", `cat /workspace/own; ${sums}`)).stdout).toBe(`two\n${expected}`);
  const bytes = hosts.distance.bytes;
  await wake("ws-three", distance);
  expect((await exec("ws-three", sums)).stdout).toBe(expected);
  expect(hosts.distance.bytes - bytes).toBeLessThan(1_000_000);
});

test("a machine whose files nobody shows any more dies, and goes back to the snapshot", async () => {
  await wake("ws-lazy", { latencyMs: 5, bytesPerSecond: 8_000_000 });
  const [server = 0] = await servers();
  process.kill(server, "SIGKILL");
  await expect.poll(() => service().get("ws-lazy"), { timeout: 20_000 }).toMatchObject({ state: "dead" });
  expect(service().get("ws-lazy").reason).toMatch(/is no longer shown to machines/);
  hosts.distance.bytesPerSecond = 1e9;
  await service().lifecycle.wake({ workspaceId: "ws-lazy", generation: 1, env: {} });
  expect((await exec("ws-lazy", sums)).stdout).toBe(expected);
});

test("a machine whose pages are not what was stored is ended, and says why", async () => {
  await wake("ws-lazy", { latencyMs: 5, bytesPerSecond: 8_000_000 });
  hosts.distance.error = new DormouseError("data_loss", "pack 00 is damaged: its SHA-256 does not fit");
  await expect
    .poll(() => service().get("ws-lazy"), { timeout: 20_000 })
    .toMatchObject({
      state: "dead",
      reason: "pack 00 is damaged: its SHA-256 does not fit",
    });
});
