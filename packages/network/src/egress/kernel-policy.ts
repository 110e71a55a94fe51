import { DormouseError } from "@dormouse/base";
import { formatIpv4Range, type Ipv4Range } from "../ipv4.ts";
import { type EgressPolicy, type ParsedPolicy, parsePolicy } from "../policy/policy.ts";
import type { PortRange, Rule, RuleProtocol } from "../policy/rule.ts";

/** As in `native/egress-abi.h`. */
export const maxPortRules = 16;
const maxProxied = 8;
const lastPort = 65_535;

/** What the filter in the kernel goes by for one range of addresses; the first that fits decides. */
export interface PortRule extends PortRange {
  /** As in the IP header; 0: any. */
  protocol: number;
  isAllowed: boolean;
}

/** A policy as far as the filter decides it; what hangs on names is left to resolver and proxy. */
export interface KernelPolicy {
  isOpen: boolean;
  /** Whether questions go to the resolver that knows the policy. */
  asksForNames: boolean;
  /** Whether the proxy looks at its ports also when the address is let through. */
  proxiesFirst: boolean;
  proxied: readonly PortRange[];
  ranges: readonly { range: Ipv4Range; rules: readonly PortRule[] }[];
}

const protocolNumbers: Record<RuleProtocol, number> = { any: 0, icmp: 1, tcp: 6, web: 6, udp: 17 };

/**
 * What the filter needs of a policy.
 * @param options.hasSecrets whether names have to be seen also where addresses alone are let through.
 * @throws DormouseError `invalid_argument` naming a range with more rules than it holds.
 */
export function kernelPolicyOf(policy: ParsedPolicy, { hasSecrets = false } = {}): KernelPolicy {
  const isOpen = policy.mode === "open";
  const looksAtNames = policy.deny.hasNames || hasSecrets;
  const usual = [80, 443].map((port) => ({ low: port, high: port }));
  const ofRules = policy.allow.rules.filter(({ target, protocol }) => target.kind !== "range" && protocol === "web");
  const proxied = mergePorts([
    ...(looksAtNames ? usual : []),
    ...(isOpen ? [] : ofRules.flatMap(({ ports }) => ports)),
  ]);
  return {
    isOpen,
    asksForNames: !isOpen || looksAtNames,
    proxiesFirst: looksAtNames,
    proxied,
    ranges: distinctRanges(policy).map((range) => ({ range, rules: rulesOf(policy, range) })),
  };
}

/**
 * Makes sure that hosts can enforce a policy.
 * @throws DormouseError `invalid_argument` with the list, the rule and what would be right.
 */
export function checkPolicy(policy: EgressPolicy): void {
  kernelPolicyOf(parsePolicy(policy));
}

function rulesOf(policy: ParsedPolicy, range: Ipv4Range): PortRule[] {
  const denied = portRules(policy.deny.covering(range), false);
  const caps = policy.caps.map((cap) => cap.covering(range));
  const allowed = limitByCaps(portRules(policy.allow.covering(range), true), caps);
  return checked([...denied, ...allowed], formatIpv4Range(range));
}

/**
 * What the filter lets through to an address because a name has resolved to it: rules of the name that do not ask for the
 * name in the connection.
 */
export function pinnedRules(policy: ParsedPolicy, name: string, address: number): PortRule[] {
  if (policy.mode === "open") return [];
  const pinned = policy.allow.ofName(name).filter(({ protocol }) => protocol !== "web");
  const caps = policy.caps.map((cap) => [...cap.ofName(name), ...cap.ofAddress(address)]);
  return limitByCaps(portRules(pinned, true), caps);
}

function limitByCaps(rules: PortRule[], caps: readonly (readonly Rule[])[]): PortRule[] {
  return caps.reduce((left, cap) => intersect(left, portRules(cap, true)), rules);
}

function intersect(rules: readonly PortRule[], others: readonly PortRule[]): PortRule[] {
  return rules.flatMap((rule) =>
    others.flatMap((other) => {
      if (rule.protocol !== 0 && other.protocol !== 0 && rule.protocol !== other.protocol) return [];
      const low = Math.max(rule.low, other.low);
      const high = Math.min(rule.high, other.high);
      return low > high ? [] : [{ ...rule, low, high, protocol: rule.protocol || other.protocol }];
    }),
  );
}

function portRules(rules: readonly Rule[], isAllowed: boolean): PortRule[] {
  return rules.flatMap(({ protocol, ports }) => {
    const all = ports.length > 0 ? ports : [{ low: 0, high: lastPort }];
    return all.map(({ low, high }) => ({ low, high, protocol: protocolNumbers[protocol], isAllowed }));
  });
}

/** Those that others cover are left out. */
function checked(rules: readonly PortRule[], place: string): PortRule[] {
  const kept: PortRule[] = [];
  for (const rule of rules) {
    const covers = (other: PortRule) =>
      other.low <= rule.low && other.high >= rule.high && (other.protocol === 0 || other.protocol === rule.protocol);
    if (!kept.some(covers)) kept.push(rule);
  }
  if (kept.length <= maxPortRules) return kept;
  throw new DormouseError(
    "invalid_argument",
    `egress has ${kept.length} rules of ports that cover ${place}; at most ${maxPortRules}`,
  );
}

function distinctRanges(policy: ParsedPolicy): Ipv4Range[] {
  const all = [policy.allow, policy.deny, ...policy.caps].flatMap(({ ranges }) =>
    ranges.map(({ target }) => target.range),
  );
  const key = ({ network, prefixLength }: Ipv4Range) => network * 64 + prefixLength;
  return [...new Map(all.map((range) => [key(range), range])).values()];
}

/** Fewer and wider when there are more than the filter holds: what the proxy is given too much, it refuses by name. */
function mergePorts(ports: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const { low, high } of [...ports].sort((a, b) => a.low - b.low)) {
    const last = merged.at(-1);
    if (last && low <= last.high + 1) last.high = Math.max(last.high, high);
    else merged.push({ low, high });
  }
  while (merged.length > maxProxied) {
    const last = merged.pop();
    const before = merged.at(-1);
    if (last && before) before.high = last.high;
  }
  return merged;
}
