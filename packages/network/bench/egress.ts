// Prints what the egress filter costs as JSON: node packages/network/bench/egress.ts [ROUNDS]. Needs root, and bpftool for the
// maps' memory. The same load passes the same slot without the filter, through it, and through the proxy, in turns.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createLogger, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import type { EgressPolicy } from "../src/policy/policy.ts";
import { defaultPresets, expandPresets } from "../src/policy/presets.ts";
import { marks, type Slot } from "../src/slot.ts";
import { attachFilter } from "../src/slot-kernel.ts";
import { createSlotPool, type SlotPool } from "../src/slot-pool.ts";
import { pretendGuest } from "../src/testing/pretend.ts";
import { pretendEgressWorld, world } from "../src/testing/pretend-egress.ts";

const rounds = Number(process.argv[2] ?? 5);
const bulkBytes = 512 * 1024 * 1024;
const connections = 300;
const port = 9000;
const name = "allowed.test";
const load = fileURLToPath(new URL("../src/testing/load.py", import.meta.url));
const policy: EgressPolicy = {
  mode: "restricted",
  allow: [`tcp:${world.range}:${port}`, `${name}:${port}`],
  deny: [],
  caps: [],
};
/** Of other hosts than the one that is measured. */
const secrets = {
  organisation: "org-bench",
  secrets: Array.from({ length: 100 }, (_, index) => ({
    name: `SECRET_${index}`,
    placeholder: `dormouse-secret-${String(index).padStart(40, "0")}`,
    hosts: [`host-${index}.test`, `*.domain-${index}.test`],
    isInsecure: false,
    value: "value",
  })),
};
const mapNames = new Set("policies ranges ranges_of_slot pins flows counted limited reports".split(" "));
const manySlots = 1_000;
const logger = createLogger({ level: "warn", write: (line) => process.stderr.write(`${line}\n`) });
const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** With the filter gone its mark is put by a rule, so that everything else is as it was. */
async function withoutFilter(slot: Slot, pool: SlotPool, work: () => Promise<void>): Promise<void> {
  const inSlot = (...command: string[]) => run("nsenter", [`--net=/run/netns/${slot.namespace}`, ...command]);
  await inSlot("tc", "qdisc", "delete", "dev", slot.tap, "clsact");
  await inSlot("nft", `insert rule ip dormouse_guard from_guest meta mark set ${marks.markDirect} accept`);
  await work();
  await attachFilter(slot, pool.egress.filterFolder);
}

/** Bytes that the kernel keeps for all maps of filters; other platforms' too. */
async function mapBytes(): Promise<number> {
  const { stdout } = await run("bpftool", ["map", "list", "-j"]);
  const maps = JSON.parse(stdout) as { name?: string; bytes_memlock: number }[];
  return maps.filter(({ name }) => mapNames.has(name ?? "")).reduce((sum, { bytes_memlock }) => sum + bytes_memlock, 0);
}

async function main() {
  await using owned = disposer();
  const bytesBefore = await mapBytes();
  const pretended = await pretendEgressWorld("dmegbench");
  owned.add(() => pretended[Symbol.asyncDispose]());
  for (const address of [world.range, world.cdn]) {
    const args = [`--net=/run/netns/${pretended.internet.namespace}`, "python3", load, "sink", address, String(port)];
    const sink = spawn("nsenter", args, { stdio: ["ignore", "pipe", "inherit"] });
    owned.add(() => void sink.kill("SIGKILL"));
    await once(sink.stdout, "data");
  }
  const { address: resolver } = pretended.internet;
  const pool = await createSlotPool({ namePrefix: "dmegb", uidBase: 706_000, size: 1, max: 1, resolver, logger });
  owned.add(() => pool.close());
  const slot = await pool.allocate();
  await pool.egress.setPolicy(slot.index, policy);
  const guest = await pretendGuest(slot, pool);
  owned.add(() => guest[Symbol.asyncDispose]());
  const measure = async (kind: "bulk" | "rate", address: string, said: string) => {
    const amount = kind === "bulk" ? bulkBytes : connections;
    const args = [
      `--net=/run/netns/${guest.namespace}`,
      "python3",
      load,
      kind,
      address,
      String(port),
      String(amount),
      said,
    ];
    const { stdout } = await run("nsenter", args, { timeoutMs: 120_000 });
    return amount / Number(stdout);
  };
  const results: Record<string, number[]> = {};
  const add = async (key: string, value: Promise<number>) => {
    results[key] = [...(results[key] ?? []), await value];
  };
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["bulk", "rate"] as const) {
      await withoutFilter(slot, pool, () => add(`${kind} none`, measure(kind, world.range, "-")));
      await add(`${kind} filter`, measure(kind, world.range, "-"));
      await add(`${kind} proxy`, measure(kind, world.cdn, name));
      await pool.egress.setSecrets(slot.index, secrets);
      await add(`${kind} beside`, measure(kind, world.cdn, name));
      await pool.egress.setSecrets(slot.index, { ...secrets, secrets: [] });
    }
  }
  const many = Array.from({ length: 1_000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24:443`);
  const updates: number[] = [];
  for (let round = 0; round < 5; round++) {
    const startedMs = performance.now();
    await pool.egress.setPolicy(slot.index, { ...policy, allow: [...policy.allow, ...many] });
    updates.push(performance.now() - startedMs);
  }
  const bytesOfOne = (await mapBytes()) - bytesBefore;
  // As the default policy has it, and twenty ranges; a slot need not be there to have one.
  const usual: EgressPolicy = {
    ...policy,
    allow: expandPresets([...defaultPresets.map((preset) => `preset:${preset}`), ...many.slice(0, 20)], "egress.allow"),
  };
  const others = Array.from({ length: manySlots }, (_, index) => index + 1);
  for (const index of others) await pool.egress.setPolicy(index, usual);
  const bytesOfMany = (await mapBytes()) - bytesBefore;
  for (const index of others) await pool.egress.clear(index);
  const of = (key: string) => median(results[key] ?? []);
  const ratio = (a: string, b: string) => of(a) / of(b);
  const figures = {
    bulkMbPerSecond: { none: of("bulk none") / 1e6, filter: of("bulk filter") / 1e6, proxy: of("bulk proxy") / 1e6 },
    connectionsPerSecond: { none: of("rate none"), filter: of("rate filter"), proxy: of("rate proxy") },
    ratios: {
      bulkFilterToNone: ratio("bulk filter", "bulk none"),
      bulkProxyToNone: ratio("bulk proxy", "bulk none"),
      connectionsFilterToNone: ratio("rate filter", "rate none"),
      connectionsProxyToNone: ratio("rate proxy", "rate none"),
      bulkBesideSecretsToProxy: ratio("bulk beside", "bulk proxy"),
      connectionsBesideSecretsToProxy: ratio("rate beside", "rate proxy"),
    },
    policyOf1000RangesMs: median(updates),
    mapMib: { oneSlot: bytesOfOne / 2 ** 20, [`${manySlots}Slots`]: bytesOfMany / 2 ** 20 },
  };
  const short = (_: string, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(3)) : value);
  console.log(JSON.stringify(figures, short, 2));
}

await main();
