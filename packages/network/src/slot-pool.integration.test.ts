import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { createLogger } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { expect, onTestFinished, test, vi } from "vitest";
import { openFilter, removeFilters } from "./egress/filter.ts";
import { openEgressPrograms } from "./egress/native.ts";
import { parseIpv4Range } from "./ipv4.ts";
import { type Slot, slotAt } from "./slot.ts";
import { destroySlots, existingSlotIndexes, prepareSlots } from "./slot-kernel.ts";
import { createSlotPool, type SlotPool } from "./slot-pool.ts";
import { kernelState } from "./testing/kernel-state.ts";
import { startProbe } from "./testing/probe.ts";

const lines: string[] = [];
const logger = createLogger({ write: (line) => lines.push(line) });

async function open(
  namePrefix: string,
  options: Partial<Parameters<typeof createSlotPool>[0]> = {},
): Promise<SlotPool> {
  const pool = await createSlotPool({ namePrefix, uidBase: 720_000, size: 2, max: 8, logger, ...options });
  onTestFinished(() => pool.close());
  return pool;
}

const inside = async (slot: Slot, ...command: string[]) =>
  (await run("nsenter", [`--net=/run/netns/${slot.namespace}`, ...command])).stdout;

test("a slot's tap belongs to the slot's user, and its namespace begins the same for every tenant", async () => {
  const pool = await open("dmone", { size: 0, max: 1 });
  const slot = await pool.allocate();
  expect(slot).toMatchObject({ namespace: "dmone0", tap: "tap0", guestAddress: "172.31.0.2", uid: 720_000 });
  const tap = JSON.parse(await inside(slot, "ip", "-details", "-json", "link", "show", "tap0"));
  expect(tap[0]).toMatchObject({
    address: "02:64:6d:00:00:01",
    linkinfo: { info_data: { type: "tap", user: 720_000 } },
  });
  const before = await inside(slot, "nft", "list", "ruleset");

  // What a tenant could leave: a device, a table, a process that lives on.
  await inside(slot, "ip", "link", "add", "left0", "type", "veth", "peer", "name", "left1");
  await inside(slot, "nft", "add", "table", "inet", "left");
  const lingering = await startProbe(slot.namespace);
  onTestFinished(() => lingering[Symbol.asyncDispose]());
  await pool.release(slot);
  const next = await pool.allocate();
  expect(next.namespace).toBe(slot.namespace);
  expect(await inside(next, "ip", "-brief", "link")).not.toContain("left0");
  expect(await inside(next, "nft", "list", "ruleset")).toBe(before);
  // The process holds the old namespace, whose link was taken away.
  const request = { kind: "connect", host: next.hostAddress, port: 9, bytes: 1, timeoutMs: 500 } as const;
  expect(await lingering.request(request)).toMatchObject({ kind: "refused", reason: /ENETUNREACH/ });
  // The old object is nobody's slot any more.
  await pool.release(slot);
  expect(pool.counts()).toMatchObject({ allocated: 1, releasing: 0 });
});

test("only the slot's user opens the tap, as a virtual machine monitor does", async () => {
  const pool = await open("dmtap", { size: 0, max: 2 });
  const slot = await pool.allocate();
  const openTapAs = (uid: number) => {
    const user = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    const monitor = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"];
    const tap = ["-netdev", `tap,id=n,ifname=${slot.tap},script=no,downscript=no`];
    const command = [`--net=/run/netns/${slot.namespace}`, ...user, ...monitor, ...tap];
    return run("nsenter", command, { input: "quit\n" });
  };
  await openTapAs(slot.uid);
  await expect(openTapAs(slot.uid + 1)).rejects.toThrow(/tap0.*: Operation not permitted/);
});

test("another machine's copy of the mount table does not keep a slot alive", async () => {
  const pool = await open("dmcopy", { size: 0, max: 1 });
  const slot = await pool.allocate();
  const other = spawn("unshare", ["--mount", "sh", "-c", "echo copied; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => kill(other));
  await once(other.stdout, "data");
  lines.length = 0;
  await pool.release(slot);
  expect(await existingSlotIndexes("dmcopy")).toEqual(new Set());
  expect(lines.join("\n")).not.toContain("outlived");
});

test("the limit is named when all slots are taken, and waiting can be cancelled or run out of time", async () => {
  const pool = await open("dmlim", { size: 0, max: 2 });
  const slots = await Promise.all([pool.allocate(), pool.allocate()]);
  await expect(pool.allocate()).rejects.toMatchObject({
    code: "resource_exhausted",
    message: "all 2 network slots are taken (max is 2)",
  });
  const released = slots.map((slot) => pool.release(slot));
  await expect(pool.allocate({ timeoutMs: 0 })).rejects.toMatchObject({ code: "deadline_exceeded" });
  const cancel = new AbortController();
  const waiting = pool.allocate({ signal: cancel.signal });
  cancel.abort();
  await expect(waiting).rejects.toMatchObject({ code: "cancelled" });
  const last = pool.allocate();
  await Promise.all(released);
  expect(await last).toMatchObject({ tap: "tap0" });
});

test("what is sent to a machine that is gone does not leave the host", async () => {
  const pool = await open("dmgone", { size: 0, max: 2 });
  const slot = await pool.allocate();
  const routeTo = async () => (await run("ip", ["route", "get", slot.address], { okCodes: [0, 2] })).stdout;
  expect(await routeTo()).toContain(slot.hostLink);
  await pool.release(slot);
  expect(await routeTo()).toBe("");
  await expect(fetch(`http://${slot.address}:8080/`)).rejects.toMatchObject({ cause: { code: "EHOSTUNREACH" } });
  await pool.close();
  // A next process finds its range free when the one before was killed.
  const killed = await startPoolProcess("dmgone", { size: 0, take: 0 });
  await killed.kill();
  const next = await open("dmgone", { size: 0, max: 2 });
  expect(next.addressPool).toBe(pool.addressPool);
  await next.close();
  expect((await run("ip", ["route", "show", "type", "unreachable", pool.addressPool])).stdout).toBe("");
});

test("settings that cannot work are refused by name", async () => {
  await expect(open("Dm")).rejects.toThrow('namePrefix is "Dm"; it must be 1 to 8 lower-case letters');
  await expect(open("dmbad", { max: 16_385 })).rejects.toThrow(
    "max is 16385; it must be a whole number from 1 to 16384",
  );
  await expect(open("dmbad", { size: 9 })).rejects.toThrow(
    "size is 9; it must be a whole number from 0 to max, which is 8",
  );
  await expect(open("dmbad", { addressPool: "10.213.0.0/29" })).rejects.toThrow(
    "addressPool is 10.213.0.0/29, which holds 4 slots; max is 8",
  );
  await expect(open("dmbad", { addressPool: "127.0.0.0/17" })).rejects.toThrow(
    /overlaps 127.0.0.0\/8, used by a route on lo/,
  );
  expect(await kernelState("dmbad")).toEqual([]);
});

test("a slot that is blocked by a foreign link is prepared once the link is out of the way", async () => {
  const pool = await open("dmfail", { size: 0, max: 1 });
  await run("ip", ["link", "add", "dmfail-0", "type", "veth", "peer", "name", "dmfailpeer"]);
  onTestFinished(async () => {
    await run("ip", ["link", "delete", "dmfail-0"], { okCodes: [0, 1] });
  });
  expect((await pool.allocate()).namespace).toBe("dmfail0");
  expect(lines.join("\n")).toContain("network slots could not be prepared");
});

test("when slots cannot be made at all, whoever waits is told why", async () => {
  const pool = await open("dmpath", { size: 0, max: 1 });
  const path = process.env.PATH;
  process.env.PATH = "/nowhere";
  try {
    await expect(pool.allocate()).rejects.toMatchObject({
      code: "unavailable",
      message: "no network slot can be prepared: no command ip here",
    });
  } finally {
    process.env.PATH = path;
  }
  expect((await pool.allocate()).namespace).toBe("dmpath0");
});

test("after SIGKILL a next process adopts what is in use and reclaims the rest, half-made slots too", async () => {
  const first = await startPoolProcess("dmkill", { size: 4, take: 3 });
  const [kept, lost] = first.slots;
  if (!kept || !lost) throw new Error("the first process took no slots");
  await expect(open("dmkill")).rejects.toThrow('another process already manages the slots named "dmkill"');
  await first.kill();
  // What a process killed between two steps leaves: a name without a namespace, a namespace without links.
  await writeFile("/run/netns/dmkill150", "");
  await run("ip", ["netns", "add", "dmkill151"]);

  const pool = await open("dmkill", { max: 200, size: 1 });
  expect(await pool.adopt(kept.index)).toEqual(kept);
  await expect(pool.adopt(kept.index)).rejects.toThrow(`slot dmkill${kept.index} is allocated`);
  await expect(pool.adopt(151)).rejects.toThrow(/there is no slot dmkill151 with .* to adopt/);
  const { leftover } = pool.counts();
  expect(leftover).toBeGreaterThanOrEqual(4);
  expect(await pool.reclaim([lost.index])).toBe(leftover - 1);
  expect(await pool.adopt(lost.index)).toEqual(lost);
  expect(pool.counts()).toMatchObject({ allocated: 2, leftover: 0 });
  expect(await inside(kept, "ip", "-brief", "link", "show", "tap0")).toContain("02:64:6d:00:00:01");

  await pool.close({ keep: [kept.index] });
  expect(await existingSlotIndexes("dmkill")).toEqual(new Set([kept.index]));
  expect(await kernelState("dormouse_dmkill")).toHaveLength(3);
  const last = await open("dmkill", { max: 200, size: 0 });
  expect(last.addressPool).toBe(pool.addressPool);
  await last.close();
  expect(await kernelState("dmkill")).toEqual([]);
});

test("a process killed while it prepares leaves nothing that a next one does not delete", async () => {
  const child = fork(fileURLToPath(new URL("testing/pool-process.ts", import.meta.url)), ["dmhalf", "100", "0"]);
  await vi.waitUntil(async () => (await existingSlotIndexes("dmhalf")).size > 20, { timeout: 30_000, interval: 1 });
  await kill(child);
  const pool = await open("dmhalf", { max: 200, size: 0 });
  await pool.reclaim([]);
  await pool.close();
  expect(await kernelState("dmhalf")).toEqual([]);
});

test("two platforms on one machine have their own names, rules and addresses", async () => {
  const [first, second] = await Promise.all([open("dmtwin"), open("dmtwinx")]);
  expect(first.addressPool).not.toBe(second.addressPool);
  const [a, b] = await Promise.all([first.allocate(), second.allocate()]);
  expect(new Set([a.address, b.address, a.namespace, b.namespace]).size).toBe(4);
  await first.close();
  expect(await existingSlotIndexes("dmtwin")).toEqual(new Set());
  expect(await inside(b, "ip", "-brief", "link", "show", "tap0")).toContain("02:64:6d:00:00:01");
  expect(await kernelState("dormouse_dmtwinx")).toHaveLength(3);
});

test("the last of 16,384 slots is like the first", async () => {
  const plan = { namePrefix: "dmlast", range: parseIpv4Range("10.214.0.0/17", "range"), uidBase: 720_000 };
  const last = slotAt(plan, 16_383);
  expect(last).toMatchObject({ namespace: "dmlast16383", hostLink: "dmlast-16383", address: "10.214.127.255" });
  onTestFinished(() => destroySlots([last], logger));
  const programs = await openEgressPrograms(process.env.DORMOUSE_CACHE ?? "/var/cache/dormouse");
  const filter = await openFilter({ namePrefix: "dmlast", programs, onRefused: () => {}, logger });
  onTestFinished(async () => {
    await filter[Symbol.asyncDispose]();
    await removeFilters("dmlast");
  });
  await prepareSlots([last], filter.folder, logger);
  expect(await inside(last, "ip", "-brief", "address")).toContain("10.214.127.255/31");
  expect(await inside(last, "ip", "-details", "link", "show", "tap0")).toContain("user 736383");
});

test("a hundred slots are prepared, allocated and released, and nothing is left", async () => {
  const count = Number(process.env.SLOTS) || 100;
  const before = await kernelState("dmkilo");
  const startedMs = performance.now();
  const pool = await open("dmkilo", { size: count, max: count });
  await vi.waitUntil(() => pool.counts().prepared === count, { timeout: 80_000, interval: 20 });
  const preparedMs = performance.now();

  // Constant time: each is there before anything else gets a turn, however many are prepared.
  const slots: Slot[] = [];
  for (let taken = 0; taken < count; taken++) {
    const winner = await Promise.race([pool.allocate(), Promise.resolve().then(() => Promise.resolve())]);
    if (winner) slots.push(winner);
  }
  const allocatedMs = performance.now();
  expect(new Set(slots.map((slot) => slot.address)).size).toBe(count);
  await expect(pool.allocate()).rejects.toThrow(`all ${count} network slots are taken (max is ${count})`);

  await Promise.all(slots.map((slot) => pool.release(slot)));
  const releasedMs = performance.now();
  await pool.close();
  expect(await kernelState("dmkilo")).toEqual(before);
  const perSlot = (ms: number) => Number((ms / count).toFixed(3));
  console.log(
    JSON.stringify({
      slots: count,
      prepareMsPerSlot: perSlot(preparedMs - startedMs),
      allocateMsPerSlot: perSlot(allocatedMs - preparedMs),
      releaseMsPerSlot: perSlot(releasedMs - allocatedMs),
    }),
  );
});

test("forwarding is on for the host", async () => {
  await open("dmfwd", { size: 0, max: 1 });
  expect((await readFile("/proc/sys/net/ipv4/ip_forward", "utf8")).trim()).toBe("1");
});

async function startPoolProcess(namePrefix: string, options: { size: number; take: number }) {
  const script = fileURLToPath(new URL("testing/pool-process.ts", import.meta.url));
  const child = fork(script, [namePrefix, String(options.size), String(options.take)]);
  onTestFinished(() => kill(child));
  const [slots] = (await once(child, "message")) as [Slot[]];
  return { slots, kill: () => kill(child) };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
