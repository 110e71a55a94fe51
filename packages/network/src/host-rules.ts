import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { formatIpv4Range, type Ipv4Range, parseIpv4Range } from "./ipv4.ts";
import type { Resolver } from "./resolver.ts";
import { classes, hostLinkOf } from "./slot.ts";

const forwardSwitch = "/proc/sys/net/ipv4/ip_forward";
const tapDevice = "/dev/net/tun";
const tapDeviceMode = 0o666;

/**
 * Where clouds keep credentials and instance data: link-local (AWS, Google, Azure, most others), Azure's wire server,
 * Alibaba, Oracle. All link-local addresses are closed with the first.
 */
const metadataRanges = ["169.254.0.0/16", "168.63.129.16", "100.100.100.200", "192.0.0.192"];

/** So many connections a guest may have open to the world; the host's table (262,144 by default) is for all of them. */
export const maxConnectionsPerSlot = 8_192;

/** What the host's rules depend on. */
export interface HostRules {
  namePrefix: string;
  range: Ipv4Range;
  /** Of machines whose policy does not speak of names. */
  resolver: Resolver;
  /** Ports of what decides by names, on this host. */
  egress: { resolver: number; proxy: number };
}

/**
 * Turns on what the host needs once for all platforms: IPv4 forwarding, and the tap device's usual mode (udev's, which
 * is missing where no udev runs), without which a machine's unprivileged process could not open its tap. The kernel
 * still lets a user open no other tap than its own. Both stay on: others may have come to rely on them.
 */
export async function openHost(): Promise<void> {
  if ((await readFile(forwardSwitch, "utf8")).trim() !== "1") await writeFile(forwardSwitch, "1\n");
  const { mode } = await stat(tapDevice).catch((cause: unknown) => {
    throw new DormouseError("failed_precondition", `there is no ${tapDevice} here; load the kernel module tun`, {
      cause,
    });
  });
  if ((mode & tapDeviceMode) !== tapDeviceMode) await chmod(tapDevice, tapDeviceMode);
}

/**
 * Installs the host's side of all slots of a platform, replacing what was there; the rules in one transaction. An address of the
 * range that no slot has is unreachable: what this host sends to a machine that is gone would else leave by the default route.
 */
export async function installHostRules(rules: HostRules): Promise<void> {
  await run("nft", ["-f", "-"], { input: ruleset(rules) });
  await run("ip", ["route", "replace", "unreachable", formatIpv4Range(rules.range)]);
}

/** Removes the tables and the route of a platform, also when there are none. */
export async function removeHostRules({ namePrefix, range }: Pick<HostRules, "namePrefix" | "range">): Promise<void> {
  // First what only the tables tell of whom it is.
  await run("ip", ["route", "delete", "unreachable", formatIpv4Range(range)], { okCodes: [0, 2] });
  const { guard, nat } = tablesOf(namePrefix);
  // Adding first makes the deletion succeed in every case.
  const lines = [guard, nat].map((table) => `add table inet ${table}\ndelete table inet ${table}\n`);
  await run("nft", ["-f", "-"], { input: lines.join("") });
}

/** The address ranges of all platforms on this machine that have rules, by name prefix. */
export async function installedRanges(): Promise<Map<string, Ipv4Range>> {
  const { stdout } = await run("nft", ["-j", "list", "tables"]);
  const ranges = new Map<string, Ipv4Range>();
  for (const { table } of (JSON.parse(stdout) as { nftables: { table?: { name: string } }[] }).nftables) {
    const namePrefix = /^dormouse_([a-z]+)_guard$/.exec(table?.name ?? "")?.[1];
    if (!namePrefix) continue;
    const set = await run("nft", ["list", "set", "inet", tablesOf(namePrefix).guard, "slots"], { okCodes: [0, 1] });
    const text = /elements = \{ ([\d./]+) \}/.exec(set.stdout)?.[1];
    if (text) ranges.set(namePrefix, parseIpv4Range(text, `the address range of the platform ${namePrefix}`));
  }
  return ranges;
}

function tablesOf(namePrefix: string): { guard: string; nat: string } {
  return { guard: `dormouse_${namePrefix}_guard`, nat: `dormouse_${namePrefix}_nat` };
}

/**
 * Two tables, one concern each. `guard`: what a guest may reach, decided once per connection as its first packet
 * arrives, before any address is rewritten (so that nothing the host publishes for others by rewriting is reached
 * either); the hooks behind it hold the same line should other rules of the host rewrite the packet. What the slot's filter
 * has not decided on has no class and goes nowhere. `nat`: DNS to the upstream resolver or to the one that knows policies,
 * what is to be looked at to the proxy, everything else out under the host's address. Only the rules for our own links decide; all
 * other traffic of the host passes untouched.
 */
function ruleset({ namePrefix, range, resolver, egress }: HostRules): string {
  const { guard, nat } = tablesOf(namePrefix);
  const links = `"${hostLinkOf(namePrefix, "*")}"`;
  const slots = formatIpv4Range(range);
  const dns = "fib daddr type local meta l4proto { tcp, udp } th dport 53";
  const toResolver = resolver.kind === "upstream" ? `dnat ip to ${resolver.address}` : `redirect to :${resolver.port}`;
  // They listen on all addresses of the host: a guest comes in by what was rewritten only, nobody from outside.
  const ports = [egress.resolver, egress.proxy, ...(resolver.kind === "relay" ? [resolver.port] : [])];
  const own = `meta l4proto { tcp, udp } th dport { ${ports.join(", ")} }`;
  const { classDirect, classProxy, classResolve } = classes;
  return `
add table inet ${guard}
delete table inet ${guard}
add table inet ${nat}
delete table inet ${nat}
table inet ${guard} {
  set slots {
    type ipv4_addr
    flags interval
    elements = { ${slots} }
  }
  set metadata {
    type ipv4_addr
    flags interval
    elements = { ${metadataRanges.join(", ")} }
  }
  set connections {
    type ipv4_addr
    size 65535
    flags dynamic
  }
  chain arrive {
    type filter hook prerouting priority mangle; policy accept;
    iifname ${links} goto from_slot
  }
  chain from_slot {
    meta nfproto != ipv4 drop
    fib saddr . iif oif missing drop
    ip dscp != { ${classDirect}, ${classProxy}, ${classResolve} } drop
    ct state invalid drop
    ct state established,related accept
    add @connections { ip saddr ct count over ${maxConnectionsPerSlot} } drop
    ip daddr @slots ${dns} accept
    fib daddr type != unicast goto refuse
    ip daddr @slots goto refuse
    ip daddr @metadata goto refuse
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmp type admin-prohibited
  }
  chain listen {
    type filter hook input priority filter; policy accept;
    iifname ${links} goto to_host
    iifname != "lo" ${own} drop
  }
  chain to_host {
    ct state established,related accept
    ct status dnat ${own} accept
    drop
  }
  chain pass {
    type filter hook forward priority filter; policy accept;
    oifname ${links} goto to_slot
    iifname ${links} ip dscp set cs0
    iifname ${links} tcp flags syn tcp option maxseg size set rt mtu
  }
  chain to_slot {
    ct state established,related accept
    drop
  }
}
table inet ${nat} {
  chain arrive {
    type nat hook prerouting priority dstnat; policy accept;
    iifname ${links} ip dscp ${classResolve} ip daddr ${slots} ${dns} redirect to :${egress.resolver}
    iifname ${links} ip dscp ${classDirect} ip daddr ${slots} ${dns} ${toResolver}
    iifname ${links} ip dscp ${classProxy} meta l4proto tcp redirect to :${egress.proxy}
  }
  chain leave {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${slots} oifname != ${links} masquerade
  }
}
`;
}
