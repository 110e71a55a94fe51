import { expect, test } from "vitest";
import { parseIpv4 } from "../ipv4.ts";
import {
  type Attempt,
  decide,
  decideName,
  type EgressPolicy,
  everything,
  isSpecial,
  nothing,
  parsePolicy,
} from "./policy.ts";

const web = (name: string, port = 443): Attempt => ({ protocol: "web", name, port });
const to = (address: string, port: number, protocol: Attempt["protocol"] = "tcp"): Attempt => ({
  protocol,
  address: parseIpv4(address),
  port,
});
const of = (policy: Partial<EgressPolicy>) => parsePolicy({ ...nothing, ...policy });
const allows = (policy: Partial<EgressPolicy>, attempt: Attempt) => decide(of(policy), attempt).isAllowed;

test("without rules nothing leaves, and with open everything does", () => {
  for (const attempt of [web("a.test"), to("192.0.2.1", 443), to("192.0.2.1", 0, "icmp")]) {
    expect(decide(of(nothing), attempt)).toEqual({ isAllowed: false, reason: "no rule allows it" });
    expect(decide(of(everything), attempt)).toEqual({ isAllowed: true, reason: "egress is open" });
  }
});

test("a deny wins, whatever allows it and wherever it stands", () => {
  const policy = { allow: ["*.a.test", "10.0.0.0/8"], deny: ["bad.a.test", "10.1.0.0/16:22"] };
  expect(allows(policy, web("good.a.test"))).toBe(true);
  expect(decide(of(policy), web("bad.a.test"))).toEqual({ isAllowed: false, reason: 'denied by "bad.a.test"' });
  expect(allows(policy, to("10.1.2.3", 22))).toBe(false);
  expect(allows(policy, to("10.1.2.3", 23))).toBe(true);
  expect(allows({ ...policy, mode: "open" }, web("bad.a.test"))).toBe(false);
});

test("a cap is a limit and allows nothing by itself; all caps hold", () => {
  const caps = [
    ["*.a.test", "10.0.0.0/8"],
    ["x.a.test", "10.1.0.0/16"],
  ];
  expect(allows({ caps }, web("x.a.test"))).toBe(false);
  expect(allows({ caps, allow: ["x.a.test", "y.a.test", "b.test"] }, web("x.a.test"))).toBe(true);
  expect(allows({ caps, allow: ["y.a.test"] }, web("y.a.test"))).toBe(false);
  expect(decide(of({ caps, allow: ["b.test"] }), web("b.test")).reason).toBe("outside what the cap lets through");
  expect(allows({ caps, allow: ["0.0.0.0/0"] }, to("10.1.0.1", 80))).toBe(true);
  expect(allows({ caps, allow: ["0.0.0.0/0"] }, to("10.2.0.1", 80))).toBe(false);
});

test("protocols and ports are told apart", () => {
  const policy = { allow: ["a.test", "tcp:git.test:22", "udp:time.test:123", "tcp:192.0.2.0/24:5000-5001"] };
  expect(allows(policy, web("a.test", 8080))).toBe(false);
  expect(allows(policy, { protocol: "tcp", name: "a.test", port: 443 })).toBe(false);
  expect(allows(policy, { protocol: "tcp", name: "git.test", port: 22 })).toBe(true);
  expect(allows(policy, { protocol: "udp", name: "git.test", port: 22 })).toBe(false);
  expect(allows(policy, { protocol: "udp", name: "time.test", port: 123 })).toBe(true);
  expect(allows(policy, to("192.0.2.9", 5001))).toBe(true);
  expect(allows(policy, to("192.0.2.9", 5001, "udp"))).toBe(false);
});

test("a question is answered when a connection may be allowed", () => {
  const policy = of({ allow: ["*.a.test", "tcp:git.test:22"], deny: ["bad.a.test"] });
  expect(decideName(policy, "x.a.test").isAllowed).toBe(true);
  expect(decideName(policy, "git.test").isAllowed).toBe(true);
  expect(decideName(policy, "bad.a.test")).toEqual({ isAllowed: false, reason: 'denied by "bad.a.test"' });
  expect(decideName(policy, "a.test").isAllowed).toBe(false);
  expect(decideName(of({ ...everything, caps: [["a.test"]] }), "b.test").isAllowed).toBe(false);
});

test("what is wrong is refused with the list that it stands in", () => {
  expect(() => of({ allow: ["a b"] })).toThrow('egress.allow has "a b"');
  expect(() => of({ deny: ["a.test:80"] })).toThrow("a name is denied as a whole, without protocol and ports");
  expect(() => of({ caps: [["*.*"]] })).toThrow('egress.cap has "*.*"');
  expect(() => of({ allow: Array.from({ length: 2_001 }, (_, index) => `n${index}.test`) })).toThrow(
    "egress has 2001 rules; at most 2000",
  );
});

test("special addresses are known", () => {
  for (const address of [
    "10.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.31.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
  ]) {
    expect(isSpecial(parseIpv4(address) ?? 0)).toBe(true);
  }
  for (const address of ["8.8.8.8", "172.32.0.1", "192.169.0.1", "100.128.0.1"]) {
    expect(isSpecial(parseIpv4(address) ?? 0)).toBe(false);
  }
});
