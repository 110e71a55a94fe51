import { createSocket } from "node:dgram";
import { once } from "node:events";
import { networkInterfaces } from "node:os";
import { createLogger, disposer } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { maxConnectionsPerSlot } from "./host-rules.ts";
import { everything } from "./policy/policy.ts";
import { inner, type Slot } from "./slot.ts";
import { createSlotPool } from "./slot-pool.ts";
import { batch, type Pretended, pretendGuest, pretendInternet } from "./testing/pretend.ts";
import { type Probe, startProbe } from "./testing/probe.ts";

// Real packets between real namespaces; only the machines and the world are pretended.
const port = 8123;
const answerTimeoutMs = 20_000;
/** What is dropped is silent; long enough for an answer that should not come, and paid once as all wait together. */
const silenceMs = 1_500;

const logger = createLogger({ level: "warn", write: console.log });
const owned = disposer();
let slot: Slot;
let otherSlot: Slot;
let guest: Pretended;
let otherGuest: Pretended;
let internet: Awaited<ReturnType<typeof pretendInternet>>;
let host: Probe;

beforeAll(async () => {
  internet = await pretendInternet("dmisoworld");
  owned.add(() => internet[Symbol.asyncDispose]());
  const pool = await createSlotPool({
    namePrefix: "dmiso",
    uidBase: 700_000,
    size: 2,
    max: 2,
    resolver: internet.address,
    logger,
  });
  owned.add(() => pool.close());
  [slot, otherSlot] = await Promise.all([pool.allocate(), pool.allocate()]);
  for (const { index } of [slot, otherSlot]) await pool.egress.setPolicy(index, everything);
  guest = await pretendGuest(slot, pool);
  owned.add(() => guest[Symbol.asyncDispose]());
  otherGuest = await pretendGuest(otherSlot, pool);
  owned.add(() => otherGuest[Symbol.asyncDispose]());
  host = await startProbe();
  owned.add(() => host[Symbol.asyncDispose]());
  for (const probe of [guest.probe, otherGuest.probe, internet.probe, host]) {
    await probe.request({ kind: "listen", port });
  }
  await internet.probe.request({ kind: "listen", port: 53 });
});
afterAll(() => owned[Symbol.asyncDispose]());

const connect = (probe: Probe, address: string, bytes = 1, toPort = port) =>
  probe.request({ kind: "connect", host: address, port: toPort, bytes, timeoutMs: answerTimeoutMs });
const isSilent = async (probe: Probe, address: string, toPort = port) =>
  (await probe.request({ kind: "connect", host: address, port: toPort, bytes: 1, timeoutMs: silenceMs })).kind;

test("the host reaches a guest's port at the slot's address, and seems to be the gateway", async () => {
  const answer = { kind: "answered", from: inner.gatewayAddress, bytes: 1 };
  expect(await connect(host, slot.address)).toEqual(answer);
  expect(await connect(host, otherSlot.address)).toEqual(answer);
});

test("a guest reaches the world under the host's address", async () => {
  expect(await connect(guest.probe, internet.address)).toEqual({
    kind: "answered",
    from: internet.hostAddress,
    bytes: 1,
  });
});

test("a guest sends megabytes through a narrower link", async () => {
  expect(await connect(guest.probe, internet.address, 3_000_000)).toMatchObject({ kind: "answered", bytes: 3_000_000 });
});

test("DNS asked of the gateway is answered by the resolver, over UDP and TCP", async () => {
  const question = {
    kind: "ask",
    host: inner.gatewayAddress,
    port: 53,
    text: "who",
    timeoutMs: answerTimeoutMs,
  } as const;
  expect(await guest.probe.request(question)).toEqual({
    kind: "received",
    datagrams: [{ from: inner.gatewayAddress, text: "answer to who" }],
  });
  expect(await connect(guest.probe, inner.gatewayAddress, 1, 53)).toMatchObject({ kind: "answered" });
});

test("what a guest must not reach is refused at once, though it is there for others", async () => {
  const hostAddresses = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address);
  expect(hostAddresses).toEqual(
    expect.arrayContaining([slot.hostAddress, otherSlot.hostAddress, internet.hostAddress]),
  );
  // Each of them answers someone: the host's from the world, the others from the host.
  expect(await connect(internet.probe, internet.hostAddress)).toMatchObject({ kind: "answered" });
  expect(await connect(host, "169.254.169.254")).toMatchObject({ kind: "answered" });
  expect(await connect(host, otherSlot.address)).toMatchObject({ kind: "answered" });

  const forbidden = [...hostAddresses, otherSlot.address, slot.address, "169.254.169.254", inner.gatewayAddress];
  const outcomes = await Promise.all(forbidden.map((address) => isSilent(guest.probe, address)));
  expect(outcomes).toEqual(forbidden.map(() => "refused"));
  expect(
    await guest.probe.request({ kind: "ask", host: "169.254.169.254", port: 53, text: "x", timeoutMs: 200 }),
  ).toEqual({ kind: "silence" });
});

test("nobody but the host reaches a guest", async () => {
  // The world knows the way, as its default route is the host, and the host forwards.
  const unsolicited = await Promise.all([
    isSilent(internet.probe, slot.address),
    isSilent(otherGuest.probe, slot.address),
  ]);
  expect(unsolicited).toEqual(["silence", "refused"]);
});

test("a forged source address gets nowhere", async () => {
  const forged = ["203.0.113.9", otherSlot.address, internet.hostAddress];
  await batch(
    guest.namespace,
    forged.map((address) => `addr add ${address}/32 dev eth0`),
  );
  for (const from of forged) {
    await guest.probe.request({ kind: "send", host: internet.address, port, from, text: `forged ${from}` });
  }
  // It takes the same way after the forged ones: when its answer is here, they have arrived or never will.
  const last = { kind: "ask", host: internet.address, port, text: "genuine", timeoutMs: answerTimeoutMs } as const;
  expect(await guest.probe.request(last)).toMatchObject({ kind: "received" });
  expect(await internet.probe.request({ kind: "received" })).toEqual({
    kind: "received",
    datagrams: [
      { from: internet.hostAddress, text: "who" },
      { from: internet.hostAddress, text: "genuine" },
    ],
  });
});

test("a slot has no IPv6", async () => {
  const { stdout } = await run("nsenter", [`--net=/run/netns/${slot.namespace}`, "cat", "/proc/net/if_inet6"]);
  expect(stdout).toBe("");
});

test("a resolver on the host's loopback is asked through a relay, which nobody outside reaches", async () => {
  // The port of the relay is known from the rule that sends questions to it.
  const stub = createSocket("udp4", (message, from) => stub.send(`stub: ${message}`, from.port, from.address));
  stub.bind(53, "127.0.0.77");
  await once(stub, "listening");
  onTestFinished(() => {
    stub.close();
  });
  const namePrefix = "dmrelay";
  const pool = await createSlotPool({ namePrefix, uidBase: 701_000, size: 0, max: 1, resolver: "127.0.0.77", logger });
  onTestFinished(() => pool.close());
  const askingSlot = await pool.allocate();
  await pool.egress.setPolicy(askingSlot.index, everything);
  const asking = await pretendGuest(askingSlot, pool);
  onTestFinished(() => asking[Symbol.asyncDispose]());
  const question = { kind: "ask", text: "who", timeoutMs: answerTimeoutMs } as const;
  expect(await asking.probe.request({ ...question, host: inner.gatewayAddress, port: 53 })).toEqual({
    kind: "received",
    datagrams: [{ from: inner.gatewayAddress, text: "stub: who" }],
  });

  const { stdout } = await run("nft", ["list", "table", "inet", `dormouse_${namePrefix}_nat`]);
  const relayPort = Number(/dscp 0x01 .* redirect to :(\d+)/.exec(stdout)?.[1]);
  expect(await host.request({ ...question, host: "127.0.0.1", port: relayPort })).toMatchObject({ kind: "received" });
  const outside = { ...question, host: internet.hostAddress, port: relayPort, timeoutMs: silenceMs };
  const direct = { ...question, host: inner.gatewayAddress, port: relayPort, timeoutMs: silenceMs };
  expect(await Promise.all([internet.probe.request(outside), asking.probe.request(direct)])).toEqual([
    { kind: "silence" },
    { kind: "silence" },
  ]);
});

test("a guest that opens too many connections is held back, and its neighbours are not", async () => {
  const question = { kind: "ask", host: internet.address, port, text: "more?", timeoutMs: answerTimeoutMs } as const;
  expect(await guest.probe.request(question)).toMatchObject({ kind: "received" });
  await guest.probe.request({ kind: "flood", host: internet.address, ports: maxConnectionsPerSlot + 1_000 });
  expect(await guest.probe.request({ ...question, timeoutMs: silenceMs })).toEqual({ kind: "silence" });
  expect(await otherGuest.probe.request(question)).toMatchObject({ kind: "received" });
  // The host still reaches the guest: what it opens is not counted.
  expect(await connect(host, slot.address)).toMatchObject({ kind: "answered" });
});
