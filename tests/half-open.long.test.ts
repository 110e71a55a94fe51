// Promise 11: connections between the parts of the platform that are cut without a word to either side, as a firewall does
// that forgets them. New ones work; nobody may wait for ever on the old ones.
import { run } from "@dormouse/base/node";
import { Connection, Workspace } from "@dormouse/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startTestPlatform, type TestPlatform } from "./support/platform.ts";

const rounds = Number(process.env.ROUNDS) || 5;
const table = "dmtest_half_open";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ poolSize: 1 });
});
afterAll(async () => {
  await heal();
  await platform?.[Symbol.asyncDispose]();
});

/** From now on no packet of a connection that is open now between parts of the platform arrives, in either direction. */
async function cutOpenConnections(): Promise<number> {
  const pids = new Set(Object.values(platform.platform.services).map(({ pid }) => pid));
  const { stdout } = await run("ss", ["-H", "-t", "-n", "-p", "state", "established"]);
  const ends = stdout.split("\n").flatMap((line) => {
    const [, , local = "", peer = "", process = ""] = line.trim().split(/\s+/);
    return pids.has(Number(/pid=(\d+)/.exec(process)?.[1])) ? [{ local, peer }] : [];
  });
  const owned = new Set(ends.map(({ local }) => local));
  const port = (address: string) => address.split(":").at(-1);
  // Each is listed from both of its ends.
  const pairs = ends.filter(({ peer }) => owned.has(peer)).map(({ local, peer }) => `${port(local)} . ${port(peer)}`);
  const elements = pairs.join(", ");
  const rules = `table inet ${table}
delete table inet ${table}
table inet ${table} {
  set cut {
    type inet_service . inet_service
    elements = { ${elements} }
  }
  chain output {
    type filter hook output priority 0
    tcp sport . tcp dport @cut drop
  }
}
`;
  await run("nft", ["-f", "-"], { input: rules });
  return pairs.length / 2;
}

async function heal(): Promise<void> {
  await run("nft", ["delete", "table", "inet", table]).catch(() => {
    // Nothing was cut, or it is healed already.
  });
}

it(`whatever is cut half-open is noticed, ${rounds} times: new requests are answered, and what went on is known`, async () => {
  const { connection } = platform;
  const workspace = await Workspace.create({ connection, hibernateAfterSeconds: null });
  const backMs: number[] = [];
  const deathMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    // A machine that dies again sooner is taken for one that does so for ever.
    await new Promise((resolve) => setTimeout(resolve, 31_000));
    await workspace.snapshot();
    // Something is on its way when it happens.
    const under = Promise.allSettled([
      workspace.exec("sleep 2"),
      workspace.snapshots(),
      Workspace.list({ connection }),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const cut = await cutOpenConnections();
    expect(cut).toBeGreaterThan(1);
    const cutMs = performance.now();
    await eventually(
      `round ${round}: somebody new is answered`,
      async () => {
        const { url, apiKey } = platform;
        const fresh = await Connection.open({ url, apiKey });
        const found = await Workspace.connect(workspace.id, { connection: fresh });
        await found.setTtl(100_000 + round);
        return (await found.exec("echo alive", { timeoutMs: 5_000 })).stdout === "alive\n";
      },
      120_000,
    );
    backMs.push(Math.round(performance.now() - cutMs));
    await under;
    // Control hears of what happens on the host, and acts on it.
    const { machines } = await platform.hostCall<{ machines: { workspaceId: string; pid: number }[] }>(
      "machines/list",
      {},
    );
    const pid = machines.find(({ workspaceId }) => workspaceId === workspace.id)?.pid ?? 0;
    const killedMs = performance.now();
    process.kill(pid, "SIGKILL");
    await eventually(
      `round ${round}: the machine that died is back`,
      async () => {
        const now = await platform.hostCall<{ machines: { workspaceId: string; pid: number; state: string }[] }>(
          "machines/list",
          {},
        );
        const machine = now.machines.find(({ workspaceId }) => workspaceId === workspace.id);
        return machine?.state === "running" && machine.pid !== pid;
      },
      120_000,
    );
    deathMs.push(Math.round(performance.now() - killedMs));
    await eventually(
      "the client that was there before goes on",
      () => workspace.exec("true", { timeoutMs: 5_000 }),
      60_000,
    );
    await heal();
  }
  console.log(`somebody new is answered after ${backMs} ms; a machine that died then is back after ${deathMs} ms`);
  for (const ms of backMs) expect(ms).toBeLessThan(10_000);
  for (const ms of deathMs) expect(ms).toBeLessThan(20_000);
});
