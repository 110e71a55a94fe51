import { DormouseError } from "@dormouse/base";
import { type Ipv4Range, parseIpv4Range } from "../ipv4.ts";

/**
 * What a rule is about. `web`: TCP that names its server, as TLS (SNI, RFC 6066) or HTTP (`Host`): the name in the
 * connection itself is checked. `tcp`, `udp`: for names, whatever goes to an address that the name has just resolved to.
 */
export type RuleProtocol = "web" | "tcp" | "udp" | "icmp" | "any";

/** Ports from `low` to `high`, both included. */
export interface PortRange {
  low: number;
  high: number;
}

/** Whom a rule is about: a name, all names below one (not itself), all names, or a range of addresses. */
export type RuleTarget =
  | { kind: "name"; name: string }
  | { kind: "suffix"; suffix: string }
  | { kind: "anyName" }
  | { kind: "range"; range: Ipv4Range };

/** One line of a policy. */
export interface Rule {
  /** As it was written. */
  text: string;
  protocol: RuleProtocol;
  target: RuleTarget;
  /** Empty: all. */
  ports: readonly PortRange[];
}

const webPorts: readonly PortRange[] = [
  { low: 80, high: 80 },
  { low: 443, high: 443 },
];
const maxPortRanges = 4;
const form =
  "[web:|tcp:|udp:|icmp:|any:]HOST[:PORTS], such as registry.npmjs.org, *.example.com:8443 or 10.1.0.0/16:5432";

/**
 * Reads a rule: `[PROTOCOL:]HOST[:PORTS]`. HOST is a name, `*.suffix`, `*`, or an IPv4 address or range. A name alone is
 * `web` on 80 and 443; a range alone is everything.
 * @param field what it stands in, for the error.
 * @throws DormouseError `invalid_argument` with the field, the rule and what would be right.
 */
export function parseRule(text: string, field: string): Rule {
  const refuse = (why: string) => new DormouseError("invalid_argument", `${field} has "${text}": ${why}`);
  const match = /^(?:(web|tcp|udp|icmp|any):)?([^:\s]+)(?::([\d,-]+))?$/.exec(text);
  if (!match?.[2]) {
    const isIpv6 = (text.match(/:/g)?.length ?? 0) > 2;
    throw refuse(isIpv6 ? "machines speak IPv4 only" : `a rule is ${form}`);
  }
  const target = parseTarget(match[2], refuse);
  const isRange = target.kind === "range";
  const protocol = (match[1] ?? (isRange ? "any" : "web")) as RuleProtocol;
  const ports = match[3] === undefined ? undefined : parsePorts(match[3], refuse);
  if (isRange && protocol === "web") throw refuse("web is for names; an address takes tcp");
  if (!isRange && protocol === "icmp") throw refuse("icmp is for addresses");
  if (protocol === "icmp" && ports) throw refuse("icmp has no ports");
  if (!isRange && protocol !== "web" && !ports)
    throw refuse(`a name with ${protocol} takes a port, such as ${text}:22`);
  return { text, protocol, target, ports: ports ?? (protocol === "web" ? webPorts : []) };
}

function parseTarget(host: string, refuse: (why: string) => DormouseError): RuleTarget {
  if (host === "*") return { kind: "anyName" };
  if (/^[\d./]+$/.test(host)) {
    try {
      return { kind: "range", range: parseIpv4Range(host, "the address") };
    } catch (error) {
      throw refuse(DormouseError.from(error).message);
    }
  }
  const isSuffix = host.startsWith("*.");
  const name = normalName(isSuffix ? host.slice(2) : host);
  if (name === undefined)
    throw refuse("it is no name, such as registry.npmjs.org or *.example.com, and no IPv4 address");
  return isSuffix ? { kind: "suffix", suffix: name } : { kind: "name", name };
}

/**
 * A host name in the form in which names are compared: small letters, ASCII (`xn--…` for others), no dot at the end.
 * Undefined for what is none (RFC 1123; underscores are let be, as service names have them) and for addresses.
 */
export function normalName(text: string): string | undefined {
  const name = text.toLowerCase();
  // What ends in a number is an address to some programs (WHATWG URL, "ends in a number").
  if (name.length > 253 || /(^|\.)(\d+|0x[\da-f]*)$/.test(name)) return undefined;
  return /^(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*$/.test(name) ? name : undefined;
}

function parsePorts(text: string, refuse: (why: string) => DormouseError): PortRange[] {
  const ranges = text.split(",").map((part) => {
    const [low = "", high = low, ...rest] = part.split("-");
    const range = { low: Number(low), high: Number(high) };
    const isRight = low !== "" && high !== "" && rest.length === 0 && range.low >= 1 && range.high <= 65_535;
    if (!isRight || range.low > range.high)
      throw refuse(`"${part}" is no port from 1 to 65535, and no range such as 8000-8100`);
    return range;
  });
  if (ranges.length > maxPortRanges) throw refuse(`${ranges.length} ranges of ports; at most ${maxPortRanges}`);
  return ranges;
}

/** Whether a rule's target is this name. */
export function matchesName({ target }: Rule, name: string): boolean {
  if (target.kind === "name") return target.name === name;
  if (target.kind === "suffix") return name.endsWith(`.${target.suffix}`);
  return target.kind === "anyName";
}

/** Whether a rule's ports include this one. */
export function matchesPort({ ports }: Rule, port: number): boolean {
  return ports.length === 0 || ports.some(({ low, high }) => port >= low && port <= high);
}
