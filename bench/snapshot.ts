import { readFile } from "node:fs/promises";
import { Workspace } from "@dormouse/sdk";
import { type Figures, figures, ratio } from "./figures.ts";
import { measureFloor } from "./floor.ts";
import { type BenchPlatform, withPlatform } from "./platform.ts";

const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 10);
const forkCount = Number(process.env.DORMOUSE_BENCH_FORKS ?? 20);
/** They share nearly all of their memory: what is promised to 20 of them may be more than there is. */
const memoryOvercommit = 1.5;
/** Written before the first snapshot, and changed in parts before the next ones. */
const workloadMib = 250;

/** Rewrites a share of its memory when it is told to, and does nothing in between: forks of it are idle. */
const workload = `
import os
size = ${workloadMib} * 1024 * 1024
memory = bytearray(os.urandom(1024 * 1024) * ${workloadMib})
os.mkfifo("/tmp/change")
open("/tmp/ready", "w").close()
while True:
    with open("/tmp/change") as change:
        percent = int(change.read())
    block = os.urandom(65536)
    for at in range(0, size * percent // 100, 65536):
        # No two blocks are equal, or the store would keep one of them.
        memory[at:at + 65536] = at.to_bytes(8, "little") + block[8:]
    open("/tmp/ready", "w").close()
`;

process.stdout.write(`${JSON.stringify(await measureSnapshots(), null, 2)}\n`);
// Connections that are kept alive hold no result back.
process.exit();

/**
 * Snapshots as a user has them, through gateway, control and host: of a running machine that has written 250 MB and
 * changes 1, 10 and 50 % of it between them, sleep and wake, forks of one running machine; beside a bare restore of QEMU
 * measured in the same run.
 */
async function measureSnapshots() {
  const note = (text: string) => process.stderr.write(`${text}\n`);
  note("floor: 10 bare restores …");
  const floor = await measureFloor({ cacheDir, boots: 0, restores: 10 });
  const bareAnswer = figures(floor.restoreToFirstAnswerMs);
  const bareRunning = figures(floor.restoreToRunningMs);
  const measured = await withPlatform({ poolSize: 0, memoryOvercommit }, async (platform) => {
    const workspace = await Workspace.create({ connection: platform.connection, hibernateAfterSeconds: null });
    note(`writing ${workloadMib} MB …`);
    await workspace.files.write("/tmp/workload.py", workload);
    await workspace.exec("exec python3 -u /tmp/workload.py", { background: true });
    await untilFile(workspace, "/tmp/ready");
    const first = await snapshot(workspace);
    const changed: Record<string, unknown> = {};
    for (const percent of [1, 10, 50]) {
      note(`${rounds} snapshots after ${percent} % changed …`);
      changed[`${percent} %`] = await snapshotsAfter(workspace, percent);
    }
    note(`${rounds} times asleep and awake …`);
    const sleeping = await sleepAndWake(workspace, platform);
    note(`1 and ${forkCount} forks …`);
    const one = await forks(workspace, platform, 1);
    const many = await forks(workspace, platform, forkCount);
    return { first, changed, sleeping, forks: { one, many } };
  });
  return {
    bareRestore: { toRunning: bareRunning, toFirstAnswer: bareAnswer },
    ...measured,
    ratios: {
      wakeToBareFirstAnswer: ratio(measured.sleeping.wakeToFirstAnswer.p50Ms, bareAnswer.p50Ms),
      forkToBareRunning: ratio(measured.forks.many.toRunning.p50Ms, bareRunning.p50Ms),
    },
  };
}

async function untilFile(workspace: Workspace, path: string): Promise<void> {
  const { exitCode } = await workspace.exec(`until test -e ${path}; do sleep 0.1; done`, { timeoutMs: 180_000 });
  if (exitCode !== 0) throw new Error(`${path} did not appear`);
}

async function snapshot(workspace: Workspace) {
  const startedMs = performance.now();
  const { pauseMs, storedBytes } = await workspace.snapshot();
  return { totalMs: performance.now() - startedMs, pauseMs: pauseMs ?? Number.NaN, storedMib: storedBytes / 1024 ** 2 };
}

async function snapshotsAfter(workspace: Workspace, percent: number) {
  const taken: Awaited<ReturnType<typeof snapshot>>[] = [];
  for (let round = 0; round < rounds; round++) {
    await workspace.exec(`rm -f /tmp/ready; echo ${percent} > /tmp/change`);
    await untilFile(workspace, "/tmp/ready");
    taken.push(await snapshot(workspace));
  }
  const mib = taken.map(({ storedMib }) => storedMib);
  return {
    pause: figures(taken.map(({ pauseMs }) => pauseMs)),
    total: figures(taken.map(({ totalMs }) => totalMs)),
    storedMib: Math.round(mib.reduce((sum, one) => sum + one, 0) / mib.length),
  };
}

async function sleepAndWake(workspace: Workspace, { connection }: BenchPlatform) {
  const times: Record<"hibernate" | "wakeToFirstAnswer" | "wakeToFirstExec", number[]> = {
    hibernate: [],
    wakeToFirstAnswer: [],
    wakeToFirstExec: [],
  };
  for (let round = 0; round < rounds; round++) {
    const beganMs = performance.now();
    await workspace.hibernate();
    const asleepMs = performance.now();
    await connection.api.workspaces.wake({ workspace: workspace.id });
    const awakeMs = performance.now();
    await workspace.exec("true");
    times.hibernate.push(asleepMs - beganMs);
    times.wakeToFirstAnswer.push(awakeMs - asleepMs);
    times.wakeToFirstExec.push(performance.now() - asleepMs);
  }
  const entries = Object.entries(times).map(([name, values]) => [name, figures(values)]);
  return Object.fromEntries(entries) as Record<keyof typeof times, Figures>;
}

async function forks(workspace: Workspace, platform: BenchPlatform, count: number) {
  const startedMs = performance.now();
  const outcomes = await workspace.fork({ count });
  const totalMs = performance.now() - startedMs;
  const made = outcomes.flatMap((outcome) => outcome.workspace ?? []);
  const machines = await platform.machines();
  const mine = machines.filter(({ workspaceId }) => made.some(({ id }) => id === workspaceId));
  const toRunning = mine.map(({ timingsMs }) => timingsMs.fork ?? Number.NaN);
  const toIdentified = mine.map(({ timingsMs }) => timingsMs.total ?? Number.NaN);
  const pssMib = await Promise.all(mine.map(({ pid }) => proportionalMib(pid ?? 0)));
  for (const fork of made) await fork.kill();
  return {
    count: made.length,
    failed: outcomes.length - made.length,
    totalMs: Math.round(totalMs),
    toRunning: figures(toRunning),
    toIdentified: figures(toIdentified),
    meanPssMib: Math.round(pssMib.reduce((sum, one) => sum + one, 0) / pssMib.length),
  };
}

/** Memory of a process, shared pages counted by their share. */
async function proportionalMib(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
}
