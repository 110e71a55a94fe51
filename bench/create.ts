import { type Connection, Workspace } from "@dormouse/sdk";
import { type Figures, figures, median, ratio } from "./figures.ts";
import { measureFloor } from "./floor.ts";
import { withPlatform } from "./platform.ts";

const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 50);
const bootRounds = Number(process.env.DORMOUSE_BENCH_BOOTS ?? 3);
const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";

process.stdout.write(`${JSON.stringify(await measureCreate(), null, 2)}\n`);
// Connections that are kept alive hold no result back.
process.exit();

/**
 * Create-to-first-exec as an SDK user sees it, through gateway, control, PostgreSQL and
 * host, with and without the pool, beside two floors measured in the same run: a cold
 * boot, and a bare QEMU restored from the same template without anything of ours around it.
 */
async function measureCreate() {
  const note = (text: string) => process.stderr.write(`${text}\n`);
  note(`floors: ${bootRounds} cold boots, ${Math.min(rounds, 20)} bare restores …`);
  const floor = await measureFloor({ cacheDir, boots: bootRounds, restores: Math.min(rounds, 20) });
  note(`with pool: ${rounds} workspaces …`);
  const pool = await withPlatform({ poolSize: 2 }, ({ connection }) => createRounds(connection, { waitForPool: true }));
  note(`without pool: ${rounds} workspaces …`);
  const noPool = await withPlatform({ poolSize: 0 }, ({ connection }) =>
    createRounds(connection, { waitForPool: false }),
  );
  const coldBoot = figures(floor.coldBootMs);
  const bareAnswer = figures(floor.restoreToFirstAnswerMs);
  const bareExec = figures(floor.restoreToFirstExecMs);
  const bareStarter = figures(floor.restoreToStarterExecMs);
  return {
    coldBootToFirstAnswer: coldBoot,
    bareRestore: {
      toRunning: figures(floor.restoreToRunningMs),
      toFirstAnswer: bareAnswer,
      toFirstExec: bareExec,
      toIdentity: figures(floor.restoreToIdentityMs),
      toIdentityAndExec: bareStarter,
      translatedBlocks: Object.fromEntries(
        Object.entries(floor.blocks).map(([name, counts]) => [name, median(counts)]),
      ),
    },
    withPool: pool,
    withoutPool: noPool,
    ratios: {
      poolToColdBoot: ratio(pool.createToFirstExec.p50Ms, coldBoot.p50Ms),
      withoutPoolToBareFirstExec: ratio(noPool.createToFirstExec.p50Ms, bareExec.p50Ms),
      withoutPoolToBareIdentityAndExec: ratio(noPool.createToFirstExec.p50Ms, bareStarter.p50Ms),
      withoutPoolToBareFirstAnswer: ratio(noPool.createToFirstExec.p50Ms, bareAnswer.p50Ms),
    },
  };
}

async function createRounds(connection: Connection, options: { waitForPool: boolean }) {
  const times: Record<"create" | "firstExec" | "createToFirstExec" | "secondExec", number[]> = {
    create: [],
    firstExec: [],
    createToFirstExec: [],
    secondExec: [],
  };
  for (let round = 0; round < rounds; round++) {
    if (options.waitForPool) await poolIsFull(connection);
    const startMs = performance.now();
    const workspace = await Workspace.create({ connection });
    const createdMs = performance.now();
    const result = await workspace.exec("true");
    const answeredMs = performance.now();
    if (result.exitCode !== 0) throw new Error(`round ${round}: true ended with ${result.exitCode}`);
    await workspace.exec("true");
    times.secondExec.push(performance.now() - answeredMs);
    times.create.push(createdMs - startMs);
    times.firstExec.push(answeredMs - createdMs);
    times.createToFirstExec.push(answeredMs - startMs);
    await workspace.kill();
  }
  const entries = Object.entries(times).map(([name, values]) => [name, figures(values)]);
  return Object.fromEntries(entries) as Record<keyof typeof times, Figures>;
}

async function poolIsFull(connection: Connection): Promise<void> {
  const deadlineMs = Date.now() + 60_000;
  for (;;) {
    const { pool } = await connection.api.hosts.capacity({});
    if (pool.ready >= pool.size) return;
    if (Date.now() > deadlineMs) throw new Error(`the pool did not fill: ${pool.ready} of ${pool.size}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
