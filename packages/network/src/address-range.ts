import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { installedRanges } from "./host-rules.ts";
import { formatIpv4Range, type Ipv4Range, ipv4RangeSize, ipv4RangesOverlap, parseIpv4Range } from "./ipv4.ts";
import { nameserversOf, resolverFiles } from "./resolver.ts";
import { indexOfName } from "./slot.ts";

/**
 * Ranges tried in this order when none is set: corners of the private blocks (RFC 1918) that home routers, container
 * engines and clouds rarely hand out, then shared (RFC 6598) and benchmarking (RFC 2544) space.
 */
export const candidateRanges: readonly string[] = [
  "10.213.0.0/17",
  "10.213.128.0/17",
  "10.86.0.0/17",
  "10.147.128.0/17",
  "172.24.0.0/17",
  "172.26.128.0/17",
  "100.96.0.0/17",
  "198.18.0.0/17",
];

/** A range that something on this machine uses, and what in words. */
export interface TakenRange {
  range: Ipv4Range;
  by: string;
}

/**
 * The address range for a platform's slots. A platform keeps the one its rules already have, as slots in use have their
 * addresses from it; otherwise it is `wanted`, or the first candidate that nothing here uses.
 * @param wanted the setting, a range of at least `2 × max` addresses.
 * @throws DormouseError `invalid_argument` when `wanted` is no range or too small, `failed_precondition` naming what
 *   uses it, or when the platform's slots lie in another range; `resource_exhausted` when all candidates are used.
 */
export async function addressRangeFor(options: {
  namePrefix: string;
  wanted: string | undefined;
  max: number;
  slotsExist: boolean;
}): Promise<Ipv4Range> {
  const wanted = options.wanted === undefined ? undefined : parseIpv4Range(options.wanted, "addressPool");
  if (wanted && ipv4RangeSize(wanted) < 2 * options.max) {
    const message = `addressPool is ${options.wanted}, which holds ${ipv4RangeSize(wanted) / 2} slots; max is ${options.max}`;
    throw new DormouseError("invalid_argument", message);
  }
  const installed = await installedRanges();
  const own = installed.get(options.namePrefix);
  if (own && options.slotsExist) {
    const fits = wanted ? formatIpv4Range(wanted) === formatIpv4Range(own) : ipv4RangeSize(own) >= 2 * options.max;
    if (fits) return own;
    const asked = wanted ? `addressPool is ${options.wanted}` : `max is ${options.max}`;
    const message = `${asked}, but slots of "${options.namePrefix}" still use ${formatIpv4Range(own)}`;
    throw new DormouseError("failed_precondition", `${message}; stop their machines first`);
  }
  const taken = await rangesInUse(options.namePrefix, [...installed.values()]);
  installed.delete(options.namePrefix);
  for (const [namePrefix, range] of installed) taken.push({ range, by: `the platform "${namePrefix}"` });
  return chooseRange(wanted, taken);
}

/** The pure part of {@link addressRangeFor}. */
export function chooseRange(wanted: Ipv4Range | undefined, taken: readonly TakenRange[]): Ipv4Range {
  const userOf = (range: Ipv4Range) => taken.find((other) => ipv4RangesOverlap(range, other.range));
  if (wanted) {
    const user = userOf(wanted);
    if (!user) return wanted;
    throw new DormouseError(
      "failed_precondition",
      `addressPool is ${formatIpv4Range(wanted)}, which overlaps ${formatIpv4Range(user.range)}, used by ${user.by}`,
    );
  }
  const free = candidateRanges.map((text) => parseIpv4Range(text, "candidate")).find((range) => !userOf(range));
  if (free) return free;
  throw new DormouseError(
    "resource_exhausted",
    `every address range in ${candidateRanges.join(", ")} is in use here; set addressPool to a free one`,
  );
}

/** What the host's routing tables and resolver files name, without the routes of the platform's own links and those of platforms' whole ranges. */
async function rangesInUse(namePrefix: string, platforms: readonly Ipv4Range[]): Promise<TakenRange[]> {
  const whole = new Set(platforms.map(formatIpv4Range));
  const { stdout } = await run("ip", ["-j", "-4", "route", "show", "table", "all"]);
  const taken: TakenRange[] = [];
  for (const { type, dst, dev } of JSON.parse(stdout) as { type?: string; dst: string; dev?: string }[]) {
    if (type === "unreachable" && whole.has(dst)) continue;
    if (dst === "default" || (dev && indexOfName(namePrefix, dev) !== undefined)) continue;
    const range = parseIpv4Range(dst, "a route of this host");
    // Some VPNs write their default route as two halves of everything.
    if (range.prefixLength > 1) taken.push({ range, by: `a route${dev ? ` on ${dev}` : ""}` });
  }
  // A resolver often stands behind the default route, in a private range without a route of its own.
  for (const file of resolverFiles) {
    for (const address of await nameserversOf(file)) {
      taken.push({ range: parseIpv4Range(address, file), by: `the resolver in ${file}` });
    }
  }
  return taken;
}
