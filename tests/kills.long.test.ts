// Promise 11: whatever is killed, whenever: nothing that was acknowledged is lost, and all of it is back in seconds.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { random } from "../packages/storage/src/testing/random.ts";
import { eventually } from "./support/eventually.ts";
import { readKernelState } from "./support/kernel-state.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const kills = Number(process.env.KILLS) || 500;
const seed = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);
const workspaceCount = 3;
/** A machine that dies again sooner is taken for one that does so for ever. */
const settledMs = 31_000;
const recoveryMs = 60_000;
const wantedMs = 10_000;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 0 });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const victims = ["host", "control", "gateway", "postgres", "machine"] as const;
type Victim = (typeof victims)[number];

async function pidOf(victim: Victim, workspace: Workspace): Promise<number | undefined> {
  if (victim === "postgres") {
    const file = await readFile(join(platform.dataDir, "data/postgres/data/postmaster.pid"), "utf8");
    return Number(file.split("\n")[0]);
  }
  if (victim !== "machine") return platform.platform.services[victim].pid;
  const { machines } = await platform.hostCall<{ machines: { workspaceId: string; pid: number | null }[] }>(
    "machines/list",
    {},
  );
  return machines.find(({ workspaceId }) => workspaceId === workspace.id)?.pid ?? undefined;
}

it(`after each of ${kills} kills everything is there and answers (SEED=${seed})`, async () => {
  const { connection } = platform;
  const next = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const workspaces: Workspace[] = [];
  for (let index = 0; index < workspaceCount; index++) {
    const workspace = await Workspace.create({ connection, name: `survivor-${index}`, hibernateAfterSeconds: null });
    await workspace.exec("n=0; while :; do n=$((n+1)); echo $n > n.new; mv n.new count; sleep 0.2; done", {
      background: true,
    });
    workspaces.push(workspace);
  }
  /** What each was told, and answered to, last. */
  const acknowledged = new Map(workspaces.map(({ id }) => [id, { file: "", ttlSeconds: 0 }]));
  const startedMs = new Map(workspaces.map(({ id }) => [id, Date.now()]));
  const times = new Map<Victim, number[]>(victims.map((victim) => [victim, []]));

  const expectAll = async () => {
    for (const workspace of workspaces) {
      const { file, ttlSeconds } = acknowledged.get(workspace.id) ?? { file: "", ttlSeconds: 0 };
      const { stdout } = await workspace.exec("cat ack; cat count", { timeoutMs: 5_000 });
      const [ack, count] = stdout.split("\n");
      if (ack !== file || !(Number(count) > 0)) throw new Error(`${workspace.name} has ${stdout}, not ${file}`);
      const { info } = await workspace.refresh();
      if (info.state !== "running") throw new Error(`${workspace.name} is ${info.state}`);
      const leftMs = Date.parse(info.expiresAt ?? "") - Date.now();
      if (Math.abs(leftMs - ttlSeconds * 1000) > 120_000) throw new Error(`${workspace.name} forgot its time to live`);
    }
  };

  for (let round = 0; round < kills; round++) {
    const workspace = pick(workspaces);
    let victim = pick(victims);
    if (victim === "machine" && Date.now() - (startedMs.get(workspace.id) ?? 0) < settledMs) victim = "host";
    for (const one of workspaces) {
      const told = { file: `${round}-${one.name}`, ttlSeconds: 100_000 + round * 300 };
      await one.files.write("/workspace/ack", `${told.file}\n`);
      await one.setTtl(told.ttlSeconds);
      acknowledged.set(one.id, told);
    }
    // A machine's own death may cost what came after its last snapshot.
    if (victim === "machine") await workspace.snapshot();
    const pid = await pidOf(victim, workspace);
    if (pid === undefined) throw new Error(`there is no process of ${victim}`);
    // Something is always under way when it happens.
    const under = [workspace.exec("sleep 0.1"), workspace.snapshots(), Workspace.list({ connection })];
    await new Promise((resolve) => setTimeout(resolve, next() * 200));
    const killedMs = performance.now();
    process.kill(pid, "SIGKILL");
    await Promise.allSettled(under);
    await eventually(
      `round ${round}: all is back after a kill of ${victim}`,
      () => expectAll().then(() => true),
      recoveryMs,
    );
    times.get(victim)?.push(performance.now() - killedMs);
    if (victim === "machine") startedMs.set(workspace.id, Date.now());
  }
  for (const [victim, all] of times) {
    const sorted = all.toSorted((a, b) => a - b).map(Math.round);
    const middle = sorted[Math.floor(sorted.length / 2)];
    process.stdout.write(
      `${victim}: ${sorted.length} kills, back after ${middle} ms (median), ${sorted.at(-1)} ms (most)\n`,
    );
    expect(sorted.at(-1) ?? 0, victim).toBeLessThan(wantedMs);
  }
  const { services } = platform.platform;
  const pids = Object.values(services).flatMap(({ pid }) => pid ?? []);
  const state = await readKernelState({ namePrefix: "dmtest", dataDir: join(platform.dataDir, "data"), pids });
  // A moment that a machine went back to stays ready for a while.
  expect(state.machineFolders.filter((name) => !name.startsWith("moment-"))).toHaveLength(workspaceCount);
});
