import { expect, test } from "vitest";
import { formatIpv4Range, ipv4RangesOverlap, parseIpv4, parseIpv4Range } from "./ipv4.ts";

test("ranges are read and written the same", () => {
  for (const text of ["10.213.0.0/17", "0.0.0.0/0", "255.255.255.255/32", "198.51.100.2/31"]) {
    expect(formatIpv4Range(parseIpv4Range(text, "range"))).toBe(text);
  }
  expect(parseIpv4Range("127.0.0.1", "range")).toEqual({ network: 0x7f000001, prefixLength: 32 });
});

test("what is no address is none", () => {
  for (const text of ["", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.1.1", "::1", "a.b.c.d", "10.0.0.-1"]) {
    expect(parseIpv4(text)).toBeUndefined();
  }
});

test("what is no range is refused by name, and a crooked one with what would be right", () => {
  for (const text of ["10.213.0.0/33", "10.213.0.0/", "10.213.0.0/17/1", "fd00::/8"]) {
    expect(() => parseIpv4Range(text, "addressPool")).toThrow(`addressPool is "${text}", which is no IPv4 range`);
  }
  expect(() => parseIpv4Range("10.213.5.0/17", "addressPool")).toThrow(
    'addressPool is "10.213.5.0/17": a /17 there begins at 10.213.0.0',
  );
});

test("ranges overlap when one holds an address of the other", () => {
  const overlap = (a: string, b: string) => ipv4RangesOverlap(parseIpv4Range(a, "a"), parseIpv4Range(b, "b"));
  expect(overlap("10.0.0.0/8", "10.213.0.0/17")).toBe(true);
  expect(overlap("10.213.127.255", "10.213.0.0/17")).toBe(true);
  expect(overlap("10.213.128.0/17", "10.213.0.0/17")).toBe(false);
  expect(overlap("255.255.255.255", "0.0.0.0/0")).toBe(true);
});
