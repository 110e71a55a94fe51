import { constants } from "node:fs";
import { access, readFile } from "node:fs/promises";
import { createId } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** One thing the network needs or makes use of, and whether this machine has it. */
export interface NetworkFeature {
  name: "network namespaces" | "tap devices" | "nftables" | "forwarding" | "eBPF types" | "traffic control hook";
  /** Without a required feature no machine gets a network. */
  required: boolean;
  available: boolean;
  /** In words: what was seen, and what to do about it. */
  reason: string;
}

/** Looks at this machine by trying things out in a namespace of its own, which is gone afterwards. Needs root. */
export async function networkFeatures(): Promise<NetworkFeature[]> {
  const namespace = createId("dormouse-doctor");
  const inside = (...command: string[]) => run("nsenter", [`--net=/run/netns/${namespace}`, ...command]);
  const namespaces = await feature("network namespaces", true, async () => {
    await run("ip", ["netns", "add", namespace]);
    return "a namespace could be made";
  });
  try {
    return [
      namespaces,
      await feature("tap devices", true, async () => {
        await access("/dev/net/tun", constants.R_OK | constants.W_OK);
        await inside("ip", "tuntap", "add", "tap0", "mode", "tap", "user", "1");
        return "a tap could be made";
      }),
      await feature("nftables", true, async () => {
        await inside("nft", trialRules);
        return (await run("nft", ["--version"])).stdout.trim();
      }),
      await feature("forwarding", true, forwarding),
      await feature("eBPF types", false, async () => {
        await access("/sys/kernel/btf/vmlinux", constants.R_OK);
        return "the kernel describes its types (BTF)";
      }),
      await feature("traffic control hook", false, async () => {
        await inside("tc", "qdisc", "add", "dev", "lo", "clsact");
        return "the hook for eBPF programs (clsact) could be attached";
      }),
    ];
  } finally {
    if (namespaces.available) await run("ip", ["netns", "delete", namespace]);
  }
}

/** One rule of each kind that slots use. */
const trialRules =
  "table inet t { set c { type ipv4_addr; flags dynamic; }; " +
  "chain a { type filter hook prerouting priority mangle; fib saddr . iif oif missing drop; " +
  "ct state new add @c { ip saddr ct count over 9 } drop; }; " +
  "chain b { type nat hook prerouting priority dstnat; ip daddr 192.0.2.1 dnat ip to 192.0.2.2; }; " +
  "chain c { type nat hook postrouting priority srcnat; masquerade; }; }";

/** A firewall that drops what the host forwards also drops what guests send; it decides after our own rules. */
async function forwarding(): Promise<string> {
  const { stdout } = await run("nft", ["-j", "list", "chains"]);
  const chains = (JSON.parse(stdout) as { nftables: { chain?: NftChain }[] }).nftables.map(({ chain }) => chain);
  const closed = chains.find((chain) => chain?.hook === "forward" && chain.policy === "drop");
  if (closed) {
    const where = `${closed.family} ${closed.table} ${closed.name}`;
    throw new Error(`the firewall chain "${where}" drops forwarded packets; let it accept those of Dormouse's links`);
  }
  const isOn = (await readFile("/proc/sys/net/ipv4/ip_forward", "utf8")).trim() === "1";
  return isOn ? "IPv4 forwarding is on and no firewall closes it" : "IPv4 forwarding is off; Dormouse turns it on";
}

interface NftChain {
  family: string;
  table: string;
  name: string;
  hook?: string;
  policy?: string;
}

async function feature(
  name: NetworkFeature["name"],
  required: boolean,
  look: () => Promise<string>,
): Promise<NetworkFeature> {
  try {
    return { name, required, available: true, reason: await look() };
  } catch (error) {
    return { name, required, available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}
