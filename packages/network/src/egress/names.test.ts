import type { Answer } from "dns-packet";
import { expect, test, vi } from "vitest";
import { type EgressPolicy, nothing, parsePolicy } from "../policy/policy.ts";
import { newEgress, resolveName } from "./names.ts";
import { ResolvedNames } from "./resolved-names.ts";

const a = (name: string, data: string, ttl = 60): Answer => ({ type: "A", name, ttl, data });
const cname = (name: string, data: string): Answer => ({ type: "CNAME", name, ttl: 60, data });

function resolverOf(policy: Partial<EgressPolicy>, records: Answer[]) {
  const egress = newEgress(3, parsePolicy({ ...nothing, ...policy }), 9n);
  const client = { addresses: vi.fn(async () => ({ rcode: "NOERROR", records })) };
  const filter = { pin: vi.fn(async () => {}) };
  return { egress, client, filter, resolve: (name: string) => resolveName(egress, name, { client, filter }) };
}

test("a refused name is asked of nobody", async () => {
  const { client, resolve } = resolverOf({ allow: ["a.test"] }, []);
  expect(await resolve("b.test")).toEqual({ kind: "refused", reason: "no rule allows it" });
  expect(client.addresses).not.toHaveBeenCalled();
});

test("aliases are followed, and what does not belong to the chain is left out", async () => {
  const records = [cname("a.test", "cdn.test"), a("cdn.test", "192.0.2.1"), a("other.test", "192.0.2.9")];
  const { egress, resolve } = resolverOf({ allow: ["a.test"] }, records);
  expect(await resolve("a.test")).toMatchObject({
    kind: "answered",
    records: records.slice(0, 2),
    addresses: [0xc0000201],
  });
  expect(egress.names.leadsTo("a.test", 0xc0000201, Date.now())).toBe(true);
  expect(egress.names.leadsTo("a.test", 0xc0000209, Date.now())).toBe(false);
});

test("a denied alias, a private address and a loop are not believed", async () => {
  const denied = resolverOf({ allow: ["a.test"], deny: ["*.bad.test"] }, [
    cname("a.test", "x.bad.test"),
    a("x.bad.test", "192.0.2.1"),
  ]);
  expect(await denied.resolve("a.test")).toEqual({
    kind: "refused",
    reason: 'it is an alias of a name denied by "*.bad.test"',
  });
  const hidden = resolverOf({ allow: ["a.test"] }, [a("a.test", "10.0.0.1")]);
  expect(await hidden.resolve("a.test")).toMatchObject({
    kind: "refused",
    reason: /resolves to 10\.0\.0\.1, which is private/,
  });
  const half = resolverOf({ allow: ["a.test"] }, [a("a.test", "10.0.0.1"), a("a.test", "192.0.2.1")]);
  expect(await half.resolve("a.test")).toMatchObject({ addresses: [0xc0000201] });
  const asked = resolverOf({ allow: ["a.test", "10.0.0.0/8:443"] }, [a("a.test", "10.0.0.1")]);
  expect(await asked.resolve("a.test")).toMatchObject({ kind: "answered", addresses: [0x0a000001] });
  const loop = resolverOf({ allow: ["a.test"] }, [cname("a.test", "b.test"), cname("b.test", "a.test")]);
  expect(await loop.resolve("a.test")).toMatchObject({ kind: "answered", addresses: [] });
});

test("addresses are pinned before they are told, with the rules of all names that lead there", async () => {
  const { egress, filter, resolve } = resolverOf({ allow: ["tcp:a.test:22"] }, [a("a.test", "192.0.2.1", 120)]);
  await resolve("a.test");
  expect(filter.pin).toHaveBeenCalledWith({
    ...{ slotIndex: 3, address: 0xc0000201, epoch: 9n },
    forMs: expect.closeTo(120_000, -3),
    rules: [{ low: 22, high: 22, protocol: 6, isAllowed: true }],
  });
  expect(egress.names.namesOf(0xc0000201)).toMatchObject([{ name: "a.test" }]);
});

test("what is remembered is bounded and ends", () => {
  const names = new ResolvedNames();
  for (let index = 0; index < 3_000; index++) names.add(`n${index}.test`, [index], 1, 0);
  expect(names.addresses().size).toBe(1_024);
  expect(names.leadsTo("n2999.test", 2_999, 59_000)).toBe(true);
  expect(names.leadsTo("n2999.test", 2_999, 61_000)).toBe(false);
  for (let index = 0; index < 100; index++) names.add("many.test", [index], 600, 0);
  expect(names.namesOf(5).map(({ name }) => name)).not.toContain("many.test");
});
