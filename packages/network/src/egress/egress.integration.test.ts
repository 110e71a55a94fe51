import { createLogger, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Slot } from "../slot.ts";
import { createSlotPool, type SlotPool } from "../slot-pool.ts";
import { type LineProcess, startLineProcess } from "../testing/line-process.ts";
import { pretendGuest } from "../testing/pretend.ts";
import { type EgressWorld, pretendEgressWorld, trialPolicy } from "../testing/pretend-egress.ts";
import type { Refusal } from "./engine.ts";

// A namespace in place of a machine, real packets, and a judge who sees every packet that leaves the host for the world.
interface Outcome {
  outcome: "answered" | "refused" | "silence";
  detail: string;
  ms: number;
}
interface Attempt {
  name: string;
  expect: "answered" | "blocked";
}

/** What is refused is refused at once, also on a busy machine; a client's time-out would be a minute and more. */
const quickMs = 5_000;
const logger = createLogger({ level: "error", write: console.log });
const owned = disposer();
const refusals: Refusal[] = [];
let pretended: EgressWorld;
let pool: SlotPool;
let slot: Slot;
let guest: LineProcess;
let table: Attempt[];

beforeAll(async () => {
  pretended = await pretendEgressWorld("dmegworld");
  owned.add(() => pretended[Symbol.asyncDispose]());
  const { address: resolver } = pretended.internet;
  pool = await createSlotPool({ namePrefix: "dmeg", uidBase: 705_000, size: 2, max: 2, resolver, logger });
  owned.add(() => pool.close());
  slot = await pool.allocate();
  const neighbour = await pool.allocate();
  await pool.egress.setPolicy(slot.index, trialPolicy);
  owned.add(pool.egress.onRefused((refusal) => refusals.push(refusal)));
  const machine = await pretendGuest(slot, pool);
  owned.add(() => machine[Symbol.asyncDispose]());
  const env = { NEIGHBOUR: neighbour.address, HOST_ADDRESS: slot.hostAddress };
  guest = await startLineProcess({ script: "attempts.py", args: [], namespace: machine.namespace, env });
  owned.add(() => guest[Symbol.asyncDispose]());
  table = await guest.ask<Attempt[]>("list");
});
afterAll(() => owned[Symbol.asyncDispose]());

test("no way of the table gets out, and what is allowed works", async () => {
  const rows: string[] = [];
  const wrong: string[] = [];
  for (const attempt of table) {
    const { outcome, detail, ms } = await guest.ask<Outcome>(attempt.name);
    const { forbidden } = await pretended.forbidden();
    const isRight = (attempt.expect === "answered") === (outcome === "answered") && forbidden.length === 0;
    const row = `${isRight ? "ok   " : "WRONG"} ${attempt.name}: ${outcome} (${detail}) in ${ms} ms${forbidden.map((packet) => `, left: ${packet}`).join("")}`;
    rows.push(row);
    if (!isRight || (outcome === "refused" && ms > quickMs)) wrong.push(row);
  }
  console.log(`${rows.join("\n")}\n${table.length} ways, ${wrong.length} wrong`);
  expect(wrong).toEqual([]);
  expect(table.filter((attempt) => attempt.expect === "blocked").length).toBeGreaterThanOrEqual(60);
});

const say = (line: string) => guest.ask<Outcome>(line);
const leftNothing = async () => expect((await pretended.forbidden()).forbidden).toEqual([]);

test("what was refused is told with name, address, port and reason, and counted", async () => {
  refusals.length = 0;
  await say("an address as it is, on another port");
  await say("a name that no rule has");
  await say("TLS with another name of the same address");
  await vi.waitUntil(() => refusals.length >= 3, { timeout: 5_000, interval: 20 });
  const of = (found: Partial<Refusal>) => expect.objectContaining({ slotIndex: slot.index, ...found });
  expect(refusals).toEqual(
    expect.arrayContaining([
      of({ address: "198.51.100.66", port: 8080, protocol: "tcp", reason: "no rule allows it" }),
      of({ name: "evil.test", address: null, port: 53, protocol: "dns", reason: "no rule allows it" }),
      of({ name: "shared-evil.test", address: "198.51.100.10", port: 443, reason: "no rule allows it" }),
    ]),
  );
  const { refusedPackets, sentBytes, receivedBytes } = await pool.egress.count(slot.index);
  expect(refusedPackets).toBeGreaterThan(20);
  expect(sentBytes).toBeGreaterThan(1_000);
  expect(receivedBytes).toBeGreaterThan(1_000);
});

test("what would become of a connection can be asked", async () => {
  const ask = (host: string, port: number) => pool.egress.test(slot.index, { host, port, protocol: "web" });
  expect(await ask("allowed.test", 443)).toEqual({ isAllowed: true, reason: 'allowed by "allowed.test"' });
  expect(await ask("evil.test", 443)).toEqual({ isAllowed: false, reason: "no rule allows it" });
  expect(await ask("bad.wild.test", 443)).toEqual({ isAllowed: false, reason: 'denied by "bad.wild.test"' });
  expect(await ask("allowed.test", 22)).toEqual({ isAllowed: false, reason: "no rule allows it" });
  expect(await ask("rebind.test", 443)).toMatchObject({
    isAllowed: false,
    reason: /resolves to 10.199.199.5, which is private/,
  });
  await expect(ask("-", 443)).rejects.toThrow('host is "-"; it must be a name or an IPv4 address');
});

test("a policy that is tightened cuts what it no longer allows, and nothing else", async () => {
  for (const kind of ["tls", "tcp", "range"]) expect(await say(`hold:${kind}`)).toMatchObject({ outcome: "answered" });
  await pool.egress.setPolicy(slot.index, { ...trialPolicy, deny: [...trialPolicy.deny, "other.test"] });
  for (const kind of ["tls", "tcp", "range"]) expect(await say(`say:${kind}`)).toMatchObject({ outcome: "answered" });
  await leftNothing();

  await pool.egress.setPolicy(slot.index, { ...trialPolicy, allow: ["allowed.test"] });
  for (const kind of ["tcp", "range"]) expect(await say(`say:${kind}`)).toMatchObject({ outcome: "refused" });
  expect(await say("say:tls")).toMatchObject({ outcome: "answered" });
  await pool.egress.setPolicy(slot.index, { ...trialPolicy, allow: [] });
  expect(await say("say:tls")).toMatchObject({ outcome: "refused" });
  await pool.egress.setPolicy(slot.index, trialPolicy);
  expect(await say("hold:tls")).toMatchObject({ outcome: "answered" });
});

test("with resolver and proxy killed again and again nothing gets out, and what is allowed works again", async () => {
  await pretended.forbidden();
  for (let round = 0; round < 3; round++) {
    for (const pid of pool.egress.pids()) process.kill(pid, "SIGKILL");
    expect(await say("TLS with another name of the same address")).toMatchObject({ outcome: "refused" });
    expect(await say("an address as it is, on another port")).toMatchObject({ outcome: "refused" });
    const working = async () => (await say("TLS to an allowed name")).outcome === "answered";
    await vi.waitUntil(working, { timeout: 5_000, interval: 50 });
  }
  await leftNothing();
});

test("without a policy, or without the filter, nothing leaves", async () => {
  const ways = ["an allowed name is resolved", "TLS to an allowed name", "a connection that a range allows"];
  const inSlot = (...command: string[]) => run("nsenter", [`--net=/run/netns/${slot.namespace}`, ...command]);
  const before = await pretended.forbidden();
  await pool.egress.clear(slot.index);
  for (const way of ways) expect(await say(way)).not.toMatchObject({ outcome: "answered" });
  await pool.egress.setPolicy(slot.index, trialPolicy);
  expect(await say("TLS to an allowed name")).toMatchObject({ outcome: "answered" });
  const between = await pretended.forbidden();
  expect(between.seen).toBeGreaterThan(before.seen);

  await inSlot("tc", "filter", "delete", "dev", "tap0", "ingress");
  for (const way of ways) expect(await say(way)).not.toMatchObject({ outcome: "answered" });
  // What was open goes on closing from the proxy's side; nothing else.
  await leftNothing();
});
