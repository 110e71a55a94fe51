import fc from "fast-check";
import { expect, test } from "vitest";
import { parseIpv4 } from "../ipv4.ts";
import { contains, decide, parsePolicy } from "../policy/policy.ts";
import { type KernelPolicy, kernelPolicyOf, pinnedRules } from "./kernel-policy.ts";

const policyOf = (policy: Partial<Parameters<typeof parsePolicy>[0]>) =>
  parsePolicy({ mode: "restricted", allow: [], deny: [], caps: [], ...policy });

/** What the filter does: the longest prefix, in it the first rule that fits, else what is open. */
function filtered({ ranges, isOpen }: KernelPolicy, address: number, protocol: number, port: number): boolean {
  const [best] = ranges
    .filter(({ range }) => contains(range, address))
    .sort((a, b) => b.range.prefixLength - a.range.prefixLength);
  const rule = best?.rules.find(
    (each) => (each.protocol === 0 || each.protocol === protocol) && port >= each.low && port <= each.high,
  );
  return rule ? rule.isAllowed : isOpen;
}

const range = fc.constantFrom("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "0.0.0.0/0");
const rule = fc.oneof(
  range,
  fc
    .tuple(fc.constantFrom("tcp:", "udp:", "any:"), range, fc.constantFrom(":22", ":1-1000", ":22,80", ""))
    .map((parts) => parts.join("")),
  range.map((each) => `icmp:${each}`),
);
const rules = fc.array(rule, { maxLength: 4 });

test("for addresses the filter decides as the policy does", () => {
  const addresses = ["10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "192.0.2.1"].map((text) => parseIpv4(text) ?? 0);
  const policies = fc.record({
    mode: fc.constantFrom("open" as const, "restricted" as const),
    allow: rules,
    deny: rules,
    caps: fc.array(rules, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(policies, (given) => {
      // What is open within a cap is merged into the cap before it comes here.
      const policy = policyOf(given.mode === "open" ? { ...given, caps: [], allow: [] } : given);
      const kernel = kernelPolicyOf(policy);
      for (const address of addresses) {
        for (const port of [1, 22, 80, 5000]) {
          for (const [protocol, number] of [
            ["tcp", 6],
            ["udp", 17],
          ] as const) {
            expect(filtered(kernel, address, number, port)).toBe(decide(policy, { protocol, address, port }).isAllowed);
          }
        }
        expect(filtered(kernel, address, 1, 0)).toBe(decide(policy, { protocol: "icmp", address, port: 0 }).isAllowed);
      }
    }),
    { numRuns: 300 },
  );
});

test("what hangs on names goes to resolver and proxy", () => {
  expect(kernelPolicyOf(policyOf({ mode: "open" }))).toMatchObject({ isOpen: true, asksForNames: false, proxied: [] });
  expect(kernelPolicyOf(policyOf({ allow: ["a.test", "b.test:8000-8100", "tcp:c.test:22"] }))).toMatchObject({
    ...{ isOpen: false, asksForNames: true, proxiesFirst: false },
    proxied: [
      { low: 80, high: 80 },
      { low: 443, high: 443 },
      { low: 8000, high: 8100 },
    ],
  });
  // A name that is denied must be seen, also where everything else is open.
  expect(kernelPolicyOf(policyOf({ mode: "open", deny: ["a.test"] }))).toMatchObject({
    ...{ isOpen: true, asksForNames: true, proxiesFirst: true },
    proxied: [
      { low: 80, high: 80 },
      { low: 443, high: 443 },
    ],
  });
});

test("more ranges of ports than the filter holds become fewer and wider", () => {
  const allow = Array.from({ length: 20 }, (_, index) => `n${index}.test:${1_000 + 10 * index}`);
  const { proxied } = kernelPolicyOf(policyOf({ allow }));
  expect(proxied.length).toBe(8);
  for (let index = 0; index < 20; index++) {
    expect(proxied.some(({ low, high }) => low <= 1_000 + 10 * index && high >= 1_000 + 10 * index)).toBe(true);
  }
});

test("too many rules for one range are refused, naming it", () => {
  const allow = Array.from({ length: 17 }, (_, index) => `tcp:10.0.0.0/8:${1 + 2 * index}`);
  expect(() => kernelPolicyOf(policyOf({ allow }))).toThrow(
    "egress has 17 rules of ports that cover 10.0.0.0/8; at most 16",
  );
});

test("an address is pinned for what its name's rules do not check in the connection", () => {
  const address = parseIpv4("192.0.2.1") ?? 0;
  const policy = policyOf({ allow: ["a.test", "tcp:a.test:22", "udp:*.test:53"] });
  expect(pinnedRules(policy, "a.test", address)).toEqual([
    { low: 22, high: 22, protocol: 6, isAllowed: true },
    { low: 53, high: 53, protocol: 17, isAllowed: true },
  ]);
  expect(pinnedRules(policyOf({ allow: ["tcp:a.test:22"], caps: [["b.test"]] }), "a.test", address)).toEqual([]);
  expect(pinnedRules(policyOf({ allow: ["tcp:a.test:22"], caps: [["192.0.2.0/24"]] }), "a.test", address)).toHaveLength(
    1,
  );
});

test("with secrets the proxy looks at names also where addresses alone are let through", () => {
  const open = policyOf({ mode: "open" });
  expect(kernelPolicyOf(open)).toMatchObject({ asksForNames: false, proxiesFirst: false, proxied: [] });
  const web = [
    { low: 80, high: 80 },
    { low: 443, high: 443 },
  ];
  expect(kernelPolicyOf(open, { hasSecrets: true })).toMatchObject({
    ...{ isOpen: true, asksForNames: true, proxiesFirst: true, proxied: web },
  });
  const ranges = policyOf({ allow: ["10.0.0.0/8", "a.test:8443"] });
  expect(kernelPolicyOf(ranges, { hasSecrets: true })).toMatchObject({ isOpen: false, proxiesFirst: true });
  expect(kernelPolicyOf(ranges, { hasSecrets: true }).proxied).toEqual([...web, { low: 8443, high: 8443 }]);
});
