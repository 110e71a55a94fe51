import { expect, test } from "vitest";
import { candidateRanges, chooseRange } from "./address-range.ts";
import { formatIpv4Range, ipv4RangeSize, parseIpv4Range } from "./ipv4.ts";
import { maxSlots } from "./slot.ts";

const taken = (range: string, by = "a route on eth0") => ({ range: parseIpv4Range(range, "taken"), by });

test("every candidate holds all slots, and the first free one is taken", () => {
  for (const text of candidateRanges) expect(ipv4RangeSize(parseIpv4Range(text, "candidate"))).toBe(2 * maxSlots);
  expect(formatIpv4Range(chooseRange(undefined, []))).toBe("10.213.0.0/17");
  expect(formatIpv4Range(chooseRange(undefined, [taken("10.213.77.1"), taken("192.0.2.0/24")]))).toBe(
    "10.213.128.0/17",
  );
  expect(formatIpv4Range(chooseRange(undefined, [taken("10.0.0.0/8")]))).toBe("172.24.0.0/17");
});

test("a range that was asked for is taken or refused with who uses it", () => {
  const wanted = parseIpv4Range("10.99.0.0/17", "wanted");
  expect(chooseRange(wanted, [taken("10.98.0.0/16")])).toEqual(wanted);
  expect(() => chooseRange(wanted, [taken("10.99.3.0/24", "a route on docker0")])).toThrow(
    "addressPool is 10.99.0.0/17, which overlaps 10.99.3.0/24, used by a route on docker0",
  );
});

test("when nothing is free the setting is named", () => {
  expect(() => chooseRange(undefined, [taken("0.0.0.0/0")])).toThrow(
    /^every address range in .* set addressPool to a free/,
  );
});
