import type { Refusal } from "@dormouse/network";
import { expect, test } from "vitest";
import { EgressLog } from "./egress-log.ts";

const refusal: Refusal = {
  ...{ slotIndex: 1, atMs: 1_000, name: "evil.test", address: "192.0.2.1", port: 443, protocol: "tcp" },
  ...{ bytes: 60, reason: "no rule allows it" },
};

function openLog() {
  let tell: (refusal: Refusal) => void = () => {};
  const onRefused = (listener: typeof tell) => {
    tell = listener;
    return () => {
      tell = () => {};
    };
  };
  const log = new EgressLog({ onRefused }, (slotIndex) => (slotIndex === 1 ? "ws-1" : undefined));
  return { log, tell: (patch: Partial<Refusal> = {}) => tell({ ...refusal, ...patch }) };
}

test("the same place is counted, the last is first, and a slot of nobody is left out", () => {
  const { log, tell } = openLog();
  tell();
  tell({ name: null, address: "192.0.2.2", port: 22 });
  tell({ atMs: 5_000 });
  tell({ slotIndex: 2 });
  expect(log.of("ws-1")).toMatchObject([
    {
      name: "evil.test",
      count: 2,
      bytes: 120,
      firstAt: "1970-01-01T00:00:01.000Z",
      lastAt: "1970-01-01T00:00:05.000Z",
    },
    { address: "192.0.2.2", count: 1 },
  ]);
  expect(log.of("ws-2")).toEqual([]);
  log.forget("ws-1");
  expect(log.of("ws-1")).toEqual([]);
});

test("each place says the rule that would let it through, or that none would", () => {
  const { log, tell } = openLog();
  const ruleOf = (patch: Partial<Refusal>) => {
    tell(patch);
    return log.of("ws-1")[0]?.rule;
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
  const { log, tell } = openLog();
  const watching = log.watch();
  const told = [watching.next(), watching.next(), watching.next()];
  for (const atMs of [0, 1_000, 59_000, 61_000]) tell({ atMs });
  for (let index = 0; index < 300; index++) tell({ name: `n${index}.test`, atMs: 70_000 });
  const values = (await Promise.all(told)).map(({ value }) => value?.refusal);
  expect(values.map((each) => `${each?.name} ${each?.count}`)).toEqual(["evil.test 1", "evil.test 4", "n0.test 1"]);
  expect(log.of("ws-1")).toHaveLength(200);
  expect(log.of("ws-1")[0]?.name).toBe("n299.test");
  log.close();
});
