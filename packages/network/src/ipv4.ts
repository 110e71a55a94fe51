import { DormouseError } from "@dormouse/base";

/** A range of IPv4 addresses in CIDR terms: `network` is its first address as an unsigned 32-bit number. */
export interface Ipv4Range {
  network: number;
  prefixLength: number;
}

/**
 * Reads `10.213.0.0/17`; a bare address is a range of one.
 * @param field the setting's name, for the error.
 * @throws DormouseError `invalid_argument` when it is no range or has bits set below its prefix.
 */
export function parseIpv4Range(text: string, field: string): Ipv4Range {
  const [address = "", length = "32", ...rest] = text.split("/");
  const network = parseIpv4(address);
  const prefixLength = /^\d{1,2}$/.test(length) ? Number(length) : -1;
  if (network === undefined || rest.length > 0 || prefixLength < 0 || prefixLength > 32) {
    throw new DormouseError("invalid_argument", `${field} is "${text}", which is no IPv4 range such as 10.213.0.0/17`);
  }
  const size = 2 ** (32 - prefixLength);
  if (network % size !== 0) {
    const start = formatIpv4(network - (network % size));
    throw new DormouseError("invalid_argument", `${field} is "${text}": a /${prefixLength} there begins at ${start}`);
  }
  return { network, prefixLength };
}

/** An IPv4 address in dotted decimal as a number, or undefined when `text` is none. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let address = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    address = address * 256 + Number(part);
  }
  return address;
}

/** The dotted decimal form of an address. */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

/** The CIDR form of a range. */
export function formatIpv4Range(range: Ipv4Range): string {
  return `${formatIpv4(range.network)}/${range.prefixLength}`;
}

/** How many addresses a range holds. */
export function ipv4RangeSize(range: Ipv4Range): number {
  return 2 ** (32 - range.prefixLength);
}

/** Whether two ranges share an address. */
export function ipv4RangesOverlap(a: Ipv4Range, b: Ipv4Range): boolean {
  return a.network < b.network + ipv4RangeSize(b) && b.network < a.network + ipv4RangeSize(a);
}
