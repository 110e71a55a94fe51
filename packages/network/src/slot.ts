import { DormouseError } from "@dormouse/base";
import { formatIpv4, type Ipv4Range, ipv4RangeSize } from "./ipv4.ts";

/** The most slots one platform can have: a /17 of /31 pairs. */
export const maxSlots = 16_384;

/**
 * What is the same in every slot, so that a snapshot taken in one wakes in any other: a guest keeps the addresses and
 * the neighbour table it was snapshotted with.
 */
export const inner = {
  tap: "tap0",
  /** The namespace's side of the tap: the guest's gateway and DNS server. */
  gatewayAddress: "172.31.0.1",
  guestAddress: "172.31.0.2",
  prefixLength: 30,
  gatewayMac: "02:64:6d:00:00:01",
  /** The virtual machine monitor must give the guest's network device this address. */
  guestMac: "02:64:6d:00:00:02",
  /** The namespace's end of the pair of links to the host. */
  uplink: "up0",
  uplinkMac: "02:64:6d:00:00:03",
  hostMac: "02:64:6d:00:00:04",
} as const;

/** Marks of packets that the filter has decided on, as in `native/egress-abi.h`. */
export const marks = {
  markDirect: 0xd1,
  markProxy: 0xd2,
  markResolve: 0xd3,
  markRefuse: 0xd4,
  markInward: 0xd5,
} as const;

/** What the marks become between a slot and the host: code points of the differentiated services field. */
export const classes = { classDirect: 1, classProxy: 2, classResolve: 3 } as const;

/** A network of its own for one machine: namespace, tap, NAT out and the way in for the host. */
export interface Slot {
  /** 0 to {@link maxSlots} − 1. */
  readonly index: number;
  /** Name of the network namespace, at `/run/netns/<namespace>`; the machine's process starts in it. */
  readonly namespace: string;
  /** The tap in the namespace, which only {@link Slot.uid} may open. */
  readonly tap: string;
  /** The host's end of the pair of links, in the host's namespace. */
  readonly hostLink: string;
  /** The host's address towards the slot; nothing but DNS is offered there. */
  readonly hostAddress: string;
  /** Where the host reaches the guest: TCP to `<address>:P` arrives at the guest's port P. */
  readonly address: string;
  readonly guestAddress: string;
  readonly guestMac: string;
  /** The machine's process runs as this user and group, which no other slot has. */
  readonly uid: number;
  readonly gid: number;
}

/** What names and numbers the slots of one platform. */
export interface SlotPlan {
  /** 1 to 8 lower-case letters; letters only, so that no platform's prefix begins another's names. */
  namePrefix: string;
  range: Ipv4Range;
  uidBase: number;
}

/**
 * The slot with an index: pure arithmetic, nothing is made. The pair of links is the index-th /31 of the range
 * (RFC 3021), the host's address first.
 * @throws DormouseError `out_of_range` when the range has no such pair.
 */
export function slotAt(plan: SlotPlan, index: number): Slot {
  const last = Math.min(maxSlots, ipv4RangeSize(plan.range) / 2) - 1;
  if (!Number.isInteger(index) || index < 0 || index > last) {
    throw new DormouseError("out_of_range", `slot index is ${index}; it must be a whole number from 0 to ${last}`);
  }
  return {
    index,
    namespace: `${plan.namePrefix}${index}`,
    tap: inner.tap,
    hostLink: hostLinkOf(plan.namePrefix, index),
    hostAddress: formatIpv4(plan.range.network + 2 * index),
    address: formatIpv4(plan.range.network + 2 * index + 1),
    guestAddress: inner.guestAddress,
    guestMac: inner.guestMac,
    uid: plan.uidBase + index,
    gid: plan.uidBase + index,
  };
}

/** The name of a slot's link on the host. The dash keeps `dm-*` from matching a platform named `dmx`. */
export function hostLinkOf(namePrefix: string, index: number | "*"): string {
  return `${namePrefix}-${index}`;
}

/** The index in a namespace's or host link's name, or undefined when the name is not of this platform. */
export function indexOfName(namePrefix: string, name: string): number | undefined {
  if (!name.startsWith(namePrefix)) return undefined;
  const digits = /^-?(0|[1-9]\d{0,4})$/.exec(name.slice(namePrefix.length))?.[1];
  const index = digits === undefined ? Number.NaN : Number(digits);
  return index < maxSlots ? index : undefined;
}
