import { DormouseError } from "@dormouse/base";
import { type Ipv4Range, ipv4RangeSize, parseIpv4 } from "../ipv4.ts";
import { matchesName, matchesPort, parseRule, type Rule } from "./rule.ts";

/** What may leave a machine, as it is written, sent and stored: no presets in it, all layers merged. */
export interface EgressPolicy {
  /** `open`: what nothing denies. `restricted`: what something allows. */
  mode: "open" | "restricted";
  allow: readonly string[];
  /** Wins over everything. A name that is denied is denied on all ports. */
  deny: readonly string[];
  /** What is not in each of these lists is not allowed, whatever allows it. */
  caps: readonly (readonly string[])[];
}

/** The policy of a machine that nobody has given one. */
export const nothing: EgressPolicy = { mode: "restricted", allow: [], deny: [], caps: [] };

/** Everything that the host's own rules let through. */
export const everything: EgressPolicy = { mode: "open", allow: [], deny: [], caps: [] };

/** Rules of one policy, of all its lists. */
export const maxRules = 2_000;

/** An {@link EgressPolicy} that has been read. */
export interface ParsedPolicy {
  mode: "open" | "restricted";
  allow: RuleSet;
  deny: RuleSet;
  caps: readonly RuleSet[];
}

/** What somebody tries. */
export interface Attempt {
  /** `web`: TCP that names its server. */
  protocol: "web" | "tcp" | "udp" | "icmp";
  /** The name in it, or the one that resolved to the address. */
  name?: string | undefined;
  address?: number | undefined;
  port: number;
}

/** Whether something may leave, and why in words that a person can act on. */
export interface Decision {
  isAllowed: boolean;
  reason: string;
}

/** Rules of one list; those about a name or an address are found without going through all. */
export class RuleSet {
  readonly rules: readonly Rule[];
  readonly #byName = new Map<string, Rule[]>();
  readonly #ranges: (Rule & { target: { kind: "range" } })[] = [];
  /** Prefix length, then network; wide ranges first. */
  readonly #byRange: Map<number, Map<number, Rule[]>>;

  constructor(rules: readonly Rule[]) {
    this.rules = rules;
    for (const rule of rules) {
      const { target } = rule;
      if (target.kind === "range") this.#ranges.push({ ...rule, target });
      else
        this.#under(target.kind === "name" ? target.name : target.kind === "suffix" ? `*.${target.suffix}` : "*").push(
          rule,
        );
    }
    const byLength = Map.groupBy(this.#ranges, ({ target }) => target.range.prefixLength);
    this.#byRange = new Map(
      [...byLength.entries()]
        .sort(([a], [b]) => a - b)
        .map(([length, ranges]) => [length, Map.groupBy(ranges, ({ target }) => target.range.network)]),
    );
  }

  get hasNames(): boolean {
    return this.#byName.size > 0;
  }

  get ranges(): readonly (Rule & { target: { kind: "range"; range: Ipv4Range } })[] {
    return this.#ranges;
  }

  /** Those about a name, whatever their ports. */
  ofName(name: string): Rule[] {
    const found = [...(this.#byName.get(name) ?? []), ...(this.#byName.get("*") ?? [])];
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
      found.push(...(this.#byName.get(`*${name.slice(dot)}`) ?? []));
    }
    return found.filter((rule) => matchesName(rule, name));
  }

  /** Those about an address, whatever their ports. */
  ofAddress(address: number): Rule[] {
    return this.covering({ network: address, prefixLength: 32 });
  }

  /** Those about all of a range, whatever their ports. */
  covering({ network, prefixLength }: Ipv4Range): Rule[] {
    const found: Rule[] = [];
    for (const [length, networks] of this.#byRange) {
      if (length > prefixLength) break;
      found.push(...(networks.get(network - (network % 2 ** (32 - length))) ?? []));
    }
    return found;
  }

  /** The first rule that covers an attempt. */
  find({ protocol, name, address, port }: Attempt): Rule | undefined {
    const candidates = name === undefined ? [] : this.ofName(name);
    if (address !== undefined) candidates.push(...this.ofAddress(address));
    return candidates.find((rule) => coversProtocol(rule, protocol) && matchesPort(rule, port));
  }

  #under(key: string): Rule[] {
    const rules = this.#byName.get(key) ?? [];
    this.#byName.set(key, rules);
    return rules;
  }
}

/**
 * Reads a policy.
 * @throws DormouseError `invalid_argument` with the list, the rule and what would be right.
 */
export function parsePolicy(policy: EgressPolicy): ParsedPolicy {
  const count = policy.allow.length + policy.deny.length + policy.caps.reduce((sum, cap) => sum + cap.length, 0);
  if (count > maxRules) {
    throw new DormouseError("invalid_argument", `egress has ${count} rules; at most ${maxRules}`);
  }
  const read = (rules: readonly string[], field: string) => new RuleSet(rules.map((rule) => parseRule(rule, field)));
  const deny = new RuleSet(policy.deny.map((rule) => parseDeny(rule)));
  return {
    mode: policy.mode,
    allow: read(policy.allow, "egress.allow"),
    deny,
    caps: policy.caps.map((cap) => read(cap, "egress.cap")),
  };
}

/**
 * Reads a rule that denies. One for a name has neither protocol nor ports: the name is not even resolved.
 * @throws DormouseError `invalid_argument`.
 */
export function parseDeny(text: string): Rule {
  const field = "egress.deny";
  const rule = parseRule(text, field);
  if (rule.target.kind === "range") return rule;
  if (!text.includes(":")) return { ...rule, protocol: "any", ports: [] };
  throw new DormouseError(
    "invalid_argument",
    `${field} has "${text}": a name is denied as a whole, without protocol and ports`,
  );
}

/** What a policy says of an attempt: a deny wins, then all caps must cover it, then the mode or an allow. */
export function decide(policy: ParsedPolicy, attempt: Attempt): Decision {
  const denied = policy.deny.find(attempt);
  if (denied) return { isAllowed: false, reason: `denied by "${denied.text}"` };
  if (policy.caps.some((cap) => !cap.find(attempt)))
    return { isAllowed: false, reason: "outside what the cap lets through" };
  if (policy.mode === "open") return { isAllowed: true, reason: "egress is open" };
  const allowed = policy.allow.find(attempt);
  if (allowed) return { isAllowed: true, reason: `allowed by "${allowed.text}"` };
  return { isAllowed: false, reason: "no rule allows it" };
}

/**
 * What a policy says of a question for a name: whether it is answered. It is when a connection to it may be allowed, on
 * whichever port.
 */
export function decideName(policy: ParsedPolicy, name: string): Decision {
  const [denied] = policy.deny.ofName(name);
  if (denied) return { isAllowed: false, reason: `denied by "${denied.text}"` };
  // A cap of addresses can only be held against the answer.
  if (policy.caps.some((cap) => cap.ofName(name).length === 0 && cap.ranges.length === 0)) {
    return { isAllowed: false, reason: "outside what the cap lets through" };
  }
  if (policy.mode === "open") return { isAllowed: true, reason: "egress is open" };
  const [allowed] = policy.allow.ofName(name);
  if (allowed) return { isAllowed: true, reason: `allowed by "${allowed.text}"` };
  return { isAllowed: false, reason: "no rule allows it" };
}

/** Whether a rule speaks of a protocol. */
export function coversProtocol({ protocol }: Rule, attempted: Attempt["protocol"]): boolean {
  if (protocol === "any" || protocol === attempted) return true;
  return protocol === "tcp" && attempted === "web";
}

/** Whether an address lies in a range. */
export function contains(range: Ipv4Range, address: number): boolean {
  return address >= range.network && address < range.network + ipv4RangeSize(range);
}

/**
 * Addresses that are nobody's on the public internet (the IANA special-purpose registry, RFC 6890, and where clouds keep
 * instance data): a public name that resolves to one is not to be believed.
 */
const specialRanges: readonly Ipv4Range[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["168.63.129.16", 32],
  ["224.0.0.0", 3],
].map(([network, prefixLength]) => ({ network: parseIpv4(String(network)) ?? 0, prefixLength: Number(prefixLength) }));

/** Whether an address is private, local or otherwise special. The documentation's ranges lead nowhere and are none here. */
export function isSpecial(address: number): boolean {
  return specialRanges.some((range) => contains(range, address));
}
