import { expect, test } from "vitest";
import { parseIpv4Range } from "./ipv4.ts";
import { indexOfName, maxSlots, slotAt } from "./slot.ts";

const plan = { namePrefix: "dm", range: parseIpv4Range("10.213.0.0/17", "range"), uidBase: 100_000 };

test("every one of 16,384 slots has names, addresses and a user of its own, which the kernel takes", () => {
  const slots = Array.from({ length: maxSlots }, (_, index) => slotAt(plan, index));
  for (const field of ["namespace", "hostLink", "hostAddress", "address", "uid"] as const) {
    expect(new Set(slots.map((slot) => slot[field])).size).toBe(maxSlots);
  }
  expect(slots[0]).toMatchObject({
    namespace: "dm0",
    hostLink: "dm-0",
    hostAddress: "10.213.0.0",
    address: "10.213.0.1",
  });
  expect(slots.at(-1)).toMatchObject({ hostAddress: "10.213.127.254", address: "10.213.127.255", uid: 116_383 });
  // Link names have at most 15 characters (IFNAMSIZ), also with the longest prefix.
  expect(slotAt({ ...plan, namePrefix: "abcdefgh" }, maxSlots - 1).hostLink.length).toBeLessThanOrEqual(15);
});

test("an index outside the range is refused", () => {
  for (const index of [-1, 0.5, 16_384, Number.NaN]) {
    expect(() => slotAt(plan, index)).toThrow(`slot index is ${index}; it must be a whole number from 0 to 16383`);
  }
  const small = { ...plan, range: parseIpv4Range("10.213.0.0/30", "range") };
  expect(() => slotAt(small, 2)).toThrow("from 0 to 1");
});

test("names are told apart from those of other platforms and of others altogether", () => {
  expect(indexOfName("dm", "dm7")).toBe(7);
  expect(indexOfName("dm", "dm-16383")).toBe(16_383);
  for (const name of ["dm", "dm-", "dmx7", "dmx-7", "dm07", "dm--7", "dm7guest", "dm16384", "eth0"]) {
    expect(indexOfName("dm", name)).toBeUndefined();
  }
});
