import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { Workspace } from "@dormouse/sdk";
import { marks } from "../packages/network/src/slot.ts";
import { pretendEgressWorld, world } from "../packages/network/src/testing/pretend-egress.ts";
import { median, ratio } from "./figures.ts";
import { type BenchPlatform, withPlatform } from "./platform.ts";

const rounds = Number(process.env.DORMOUSE_BENCH_ROUNDS ?? 5);
const bulkBytes = 64 * 1024 * 1024;
const connections = 100;
const port = 9000;
const name = "allowed.test";
const load = fileURLToPath(new URL("../packages/network/src/testing/load.py", import.meta.url));
const loadInMachine = "/tmp/load.py";
/** How the same load goes: past no filter, through the filter, through filter and proxy. */
const ways = {
  none: { machine: "free", address: world.range, said: "-" },
  filter: { machine: "filtered", address: world.range, said: "-" },
  proxy: { machine: "filtered", address: world.cdn, said: name },
} as const;
type Way = keyof typeof ways;
type Kind = "bulk" | "rate";

await using internet = await pretendEgressWorld("dmbtraf");
await using sinks = disposer();
for (const address of [world.range, world.cdn]) {
  const args = [`--net=/run/netns/${internet.internet.namespace}`, "python3", load, "sink", address, String(port)];
  const sink = spawn("nsenter", args, { stdio: ["ignore", "pipe", "inherit"] });
  sinks.add(() => void sink.kill("SIGKILL"));
  await once(sink.stdout, "data");
}
const options = { poolSize: 0, resolver: internet.internet.address };
process.stdout.write(`${JSON.stringify(await withPlatform(options, measureTraffic), null, 2)}\n`);

/**
 * What a machine sends to a server of a pretended internet, and how often it connects there, in turns: from one whose filter was
 * taken off its tap, and from one with filter. Megabytes and new connections per second, and how the ways compare.
 */
async function measureTraffic(platform: BenchPlatform) {
  const machines = {
    free: await startMachine(platform, "free"),
    filtered: await startMachine(platform, "filtered"),
  };
  await removeFilter(platform, machines.free);
  const results = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${rounds} …\n`);
    for (const kind of ["bulk", "rate"] as const) {
      for (const way of Object.keys(ways) as Way[]) {
        const perSecond = await measure(machines[ways[way].machine], kind, way);
        results.set(`${kind} ${way}`, [...(results.get(`${kind} ${way}`) ?? []), perSecond]);
      }
    }
  }
  const of = (kind: Kind, way: Way) => median(results.get(`${kind} ${way}`) ?? []);
  const all = (kind: Kind, per: number) =>
    Object.fromEntries(Object.keys(ways).map((way) => [way, Math.round((of(kind, way as Way) / per) * 10) / 10]));
  return {
    bulkMbPerSecond: all("bulk", 1e6),
    connectionsPerSecond: all("rate", 1),
    ratios: {
      bulkFilterToNone: ratio(of("bulk", "filter"), of("bulk", "none")),
      bulkProxyToNone: ratio(of("bulk", "proxy"), of("bulk", "none")),
      connectionsFilterToNone: ratio(of("rate", "filter"), of("rate", "none")),
      connectionsProxyToNone: ratio(of("rate", "proxy"), of("rate", "none")),
    },
  };
}

async function startMachine({ connection }: BenchPlatform, called: string): Promise<Workspace> {
  const workspace = await Workspace.create({ connection, name: called });
  await workspace.egress.set({ mode: "none", allow: [`tcp:${world.range}:${port}`, `${name}:${port}`] });
  await workspace.files.write(loadInMachine, await readFile(load));
  return workspace;
}

/** With the filter gone its mark is put by a rule, so that everything else is as it was. */
async function removeFilter({ machines }: BenchPlatform, { id }: Workspace): Promise<void> {
  const pid = (await machines()).find(({ workspaceId }) => workspaceId === id)?.pid;
  const inSlot = (...command: string[]) => run("nsenter", [`--net=/proc/${pid}/ns/net`, ...command]);
  const [{ ifname: tap } = {}] = JSON.parse((await inSlot("ip", "-j", "link", "show", "type", "tun")).stdout);
  await inSlot("tc", "qdisc", "delete", "dev", tap, "clsact");
  await inSlot("nft", `insert rule ip dormouse_guard from_guest meta mark set ${marks.markDirect} accept`);
}

/** Bytes or connections per second, by the machine's own clock. */
async function measure(workspace: Workspace, kind: Kind, way: Way): Promise<number> {
  const { address, said } = ways[way];
  const amount = kind === "bulk" ? bulkBytes : connections;
  const command = `getent hosts ${name} >/dev/null; python3 ${loadInMachine} ${kind} ${address} ${port} ${amount} ${said}`;
  const { stdout, stderr, exitCode } = await workspace.exec(["sh", "-c", command], { timeoutMs: 120_000 });
  if (exitCode !== 0) throw new Error(`${kind} by ${way}: ${stderr}`);
  return amount / Number(stdout);
}
