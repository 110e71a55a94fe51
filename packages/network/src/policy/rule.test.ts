import { expect, test } from "vitest";
import { presets } from "./presets.ts";
import { matchesName, matchesPort, normalName, parseRule } from "./rule.ts";

test("a rule is read with the defaults of its target", () => {
  expect(parseRule("registry.npmjs.org", "allow")).toMatchObject({
    protocol: "web",
    target: { kind: "name", name: "registry.npmjs.org" },
    ports: [
      { low: 80, high: 80 },
      { low: 443, high: 443 },
    ],
  });
  expect(parseRule("*.Example.COM:8443,9000-9100", "allow")).toMatchObject({
    target: { kind: "suffix", suffix: "example.com" },
    ports: [
      { low: 8443, high: 8443 },
      { low: 9000, high: 9100 },
    ],
  });
  expect(parseRule("tcp:git.example:22", "allow")).toMatchObject({ protocol: "tcp" });
  expect(parseRule("10.1.0.0/16", "allow")).toMatchObject({ protocol: "any", ports: [], target: { kind: "range" } });
  expect(parseRule("*", "cap")).toMatchObject({ target: { kind: "anyName" } });
});

test.each([
  ["", /a rule is \[web:\|tcp/],
  ["a b", /a rule is/],
  ["https://example.com", /a rule is/],
  ["2001:db8::1", /machines speak IPv4 only/],
  ["ex*mple.com", /it is no name/],
  ["-a.example", /it is no name/],
  ["example.com.", /it is no name/],
  ["exämple.com", /it is no name/],
  ["10.1.0.1/16", /a \/16 there begins at 10\.1\.0\.0/],
  ["256.1.1.1", /no IPv4 range/],
  ["example.com:0", /"0" is no port from 1 to 65535/],
  ["example.com:70000", /"70000" is no port/],
  ["example.com:90-80", /"90-80" is no port/],
  ["example.com:1,2,3,4,5", /5 ranges of ports; at most 4/],
  ["tcp:example.com", /a name with tcp takes a port, such as tcp:example\.com:22/],
  ["icmp:example.com", /icmp is for addresses/],
  ["icmp:10.0.0.1:3", /icmp has no ports/],
  ["web:10.0.0.1", /web is for names; an address takes tcp/],
])("%j is refused with the reason", (text, reason) => {
  expect(() => parseRule(text, "egress.allow")).toThrow(reason);
  expect(() => parseRule(text, "egress.allow")).toThrow(`egress.allow has "${text}"`);
});

test("a suffix is what is below a name, not the name and not what ends like it", () => {
  const rule = parseRule("*.example.com", "allow");
  expect(["a.example.com", "a.b.example.com"].every((name) => matchesName(rule, name))).toBe(true);
  expect(["example.com", "evilexample.com", "example.com.evil.test"].some((name) => matchesName(rule, name))).toBe(
    false,
  );
  expect(matchesPort(rule, 443)).toBe(true);
  expect(matchesPort(rule, 22)).toBe(false);
});

test("names are compared in one form, and what is none is told apart", () => {
  expect(normalName("Registry.NPMjs.org")).toBe("registry.npmjs.org");
  expect(normalName("_http._tcp.deb.debian.org")).toBe("_http._tcp.deb.debian.org");
  for (const text of ["", ".", "a..b", "a.", "10.0.0.1", "0x7f.1", "a b", "a\0b", "ä.example", `${"a".repeat(64)}.b`]) {
    expect(normalName(text)).toBeUndefined();
  }
});

test("every preset can be read, and allows names alone", () => {
  for (const [name, { title, allow }] of Object.entries(presets)) {
    expect(title.length).toBeGreaterThan(5);
    expect(allow.length).toBeGreaterThan(0);
    for (const rule of allow) expect(parseRule(rule, `preset ${name}`).target.kind).not.toBe("range");
  }
});
