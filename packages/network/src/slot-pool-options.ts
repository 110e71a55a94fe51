import { DormouseError, type Logger } from "@dormouse/base";
import { parseIpv4 } from "./ipv4.ts";
import { maxSlots } from "./slot.ts";

/** 2^32 − 1 means "no user" to the kernel. */
const maxUid = 4_294_967_294;

/** The settings of `createSlotPool`. */
export interface SlotPoolOptions {
  /** Begins all names in the kernel, 1 to 8 lower-case letters; `dm` makes namespaces `dm0`, `dm1`, …. */
  namePrefix: string;
  /** A CIDR range for the links, two addresses a slot; undefined finds one that nothing on this machine uses. */
  addressPool?: string | undefined;
  /** Slot n belongs to user and group `uidBase + n`. */
  uidBase: number;
  /** So many are kept prepared ahead. */
  size: number;
  /** So many exist at most, allocated ones included; at most {@link maxSlots}. */
  max: number;
  /**
   * IPv4 address of the resolver that guests use; undefined takes the host's, also when it changes. One on the host's
   * loopback is asked through a relay in this process, so DNS pauses while the process is away.
   */
  resolver?: string | undefined;
  /** Where what is compiled is kept. Default: DORMOUSE_CACHE, else /var/cache/dormouse. */
  cacheDir?: string | undefined;
  /**
   * What organisations' authorities are made from, which machines trust for the sake of secrets; the same on all hosts of an
   * installation. Default: another one each time.
   */
  authoritySecret?: string | undefined;
  /** Root certificates, as PEM, that servers which get secrets may have beside those of Node and the host's system. */
  extraRoots?: readonly string[] | undefined;
  logger: Logger;
}

/**
 * Refuses settings that cannot work.
 * @throws DormouseError `invalid_argument` naming the setting, its value and what would be right.
 */
export function checkSlotPoolOptions({ namePrefix, uidBase, size, max, resolver }: SlotPoolOptions): void {
  const refuse = (message: string) => {
    throw new DormouseError("invalid_argument", message);
  };
  const isWhole = (value: number, from: number, to: number) => Number.isInteger(value) && value >= from && value <= to;
  if (!/^[a-z]{1,8}$/.test(namePrefix)) refuse(`namePrefix is "${namePrefix}"; it must be 1 to 8 lower-case letters`);
  if (!isWhole(max, 1, maxSlots)) refuse(`max is ${max}; it must be a whole number from 1 to ${maxSlots}`);
  if (!isWhole(size, 0, max)) refuse(`size is ${size}; it must be a whole number from 0 to max, which is ${max}`);
  if (!isWhole(uidBase, 1, maxUid - max + 1)) refuse(`uidBase is ${uidBase}; it must be from 1 to ${maxUid - max + 1}`);
  if (resolver !== undefined && parseIpv4(resolver) === undefined) {
    refuse(`resolver is "${resolver}"; it must be an IPv4 address`);
  }
}
