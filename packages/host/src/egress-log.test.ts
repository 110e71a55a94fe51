import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import type { Refusal } from "@dormouse/network";
import { expect, onTestFinished, test } from "vitest";
import { EgressLog } from "./egress-log.ts";

const refusal: Refusal = {
  ...{ slotIndex: 1, atMs: 1_000, name: "evil.test", address: "192.0.2.1", port: 443, protocol: "tcp" },
  ...{ bytes: 60, reason: "no rule allows it" },
};

const lines: string[] = [];

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "dormouse-egress-log-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function openLog(folder?: string) {
  const log = await EgressLog.open(folder ?? (await makeFolder()), createLogger({ write: (line) => lines.push(line) }));
  onTestFinished(() => log.close());
  let tell: (refusal: Refusal) => void = () => {};
  const onRefused = (listener: typeof tell) => {
    tell = listener;
    return () => {
      tell = () => {};
    };
  };
  log.follow({ onRefused }, (slotIndex) => (slotIndex === 1 ? "ws-1" : undefined));
  return { log, tell: (patch: Partial<Refusal> = {}) => tell({ ...refusal, ...patch }) };
}

test("the same place is counted, the last is first, and a slot of nobody is left out", async () => {
  const { log, tell } = await openLog();
  tell();
  tell({ name: null, address: "192.0.2.2", port: 22 });
  tell({ atMs: 5_000 });
  tell({ slotIndex: 2 });
  expect(log.of("ws-1").refusals).toMatchObject([
    {
      name: "evil.test",
      count: 2,
      bytes: 120,
      firstAt: "1970-01-01T00:00:01.000Z",
      lastAt: "1970-01-01T00:00:05.000Z",
    },
    { address: "192.0.2.2", count: 1 },
  ]);
  expect(log.of("ws-2")).toEqual({ refusals: [], hours: [] });
  await log.forget("ws-1");
  expect(log.of("ws-1")).toEqual({ refusals: [], hours: [] });
});

test("each place says the rule that would let it through, or that none would", async () => {
  const { log, tell } = await openLog();
  const ruleOf = (patch: Partial<Refusal>) => {
    tell(patch);
    return log.of("ws-1").refusals[0]?.rule;
  };
  expect(ruleOf({})).toBe("evil.test");
  expect(ruleOf({ port: 22 })).toBe("tcp:evil.test:22");
  expect(ruleOf({ name: null, address: "192.0.2.3", protocol: "udp", port: 123 })).toBe("udp:192.0.2.3:123");
  expect(ruleOf({ name: null, address: "192.0.2.3", protocol: "icmp", port: 0 })).toBe("icmp:192.0.2.3");
  expect(ruleOf({ name: "q.test", address: null, protocol: "dns", port: 53 })).toBe("q.test");
  expect(ruleOf({ name: "d.test", reason: 'denied by "d.test"' })).toBeNull();
  expect(ruleOf({ name: null, address: "192.0.2.4", protocol: "other", port: 0 })).toBeNull();
});

test("a place is told once in a minute, and places are bounded", async () => {
  const { log, tell } = await openLog();
  const watching = log.watch();
  const told = [watching.next(), watching.next(), watching.next()];
  for (const atMs of [0, 1_000, 59_000, 61_000]) tell({ atMs });
  for (let index = 0; index < 300; index++) tell({ name: `n${index}.test`, atMs: 70_000 });
  const values = (await Promise.all(told)).map(({ value }) => value?.refusal);
  expect(values.map((each) => `${each?.name} ${each?.count}`)).toEqual(["evil.test 1", "evil.test 4", "n0.test 1"]);
  expect(log.of("ws-1").refusals).toHaveLength(200);
  expect(log.of("ws-1").refusals[0]?.name).toBe("n299.test");
});

const hour = 3_600_000;

test("hours are counted, those of two days, whatever the places were", async () => {
  const { log, tell } = await openLog();
  for (const atMs of [0, 59, hour, hour + 1, hour + 2, 40 * hour]) tell({ atMs, port: 1 + (atMs % 7) });
  const counts = () => log.of("ws-1").hours.map(({ at, count }) => [Date.parse(at) / hour, count]);
  expect(counts()).toEqual([
    [0, 2],
    [1, 3],
    [40, 1],
  ]);
  tell({ atMs: 48 * hour });
  expect(counts().map(([at]) => at)).toEqual([1, 40, 48]);
});

test("what was refused outlives the daemon, until its workspace goes", async () => {
  const folder = await makeFolder();
  const first = await openLog(folder);
  first.tell();
  first.tell({ name: null, address: "192.0.2.2", atMs: hour });
  const before = first.log.of("ws-1");
  await first.log.close();

  const second = await openLog(folder);
  expect(second.log.of("ws-1")).toEqual(before);
  second.tell({ atMs: 2 * hour });
  expect(second.log.of("ws-1").refusals[0]).toMatchObject({ name: "evil.test", count: 2 });
  await second.log.retain(["ws-2"]);
  expect(second.log.of("ws-1").refusals).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});

test("a file of the log that is broken is left out, said, and written anew", async () => {
  const folder = await makeFolder();
  await writeFile(join(folder, "ws-1.json"), "{");
  await writeFile(join(folder, "ws-1.json.0123.tmp"), "half");
  const { log, tell } = await openLog(folder);
  expect(lines.at(-1)).toContain("cannot be read and begins anew");
  expect(await readdir(folder)).toEqual(["ws-1.json"]);
  tell();
  await log.close();
  expect(JSON.parse(await readFile(join(folder, "ws-1.json"), "utf8"))).toMatchObject({
    version: 1,
    hours: [{ count: 1 }],
  });
});
