import { run } from "@dormouse/base/node";
import { inner, type Slot } from "../slot.ts";
import { attachFilter } from "../slot-kernel.ts";
import type { SlotPool } from "../slot-pool.ts";
import { type Probe, startProbe } from "./probe.ts";

/** A namespace with a probe in it that stands for something else. */
export interface Pretended extends AsyncDisposable {
  namespace: string;
  probe: Probe;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Puts a namespace where a slot's guest would be: the tap is replaced by a link of the same name and addresses whose
 * other end is the guest's device. The rules see packets exactly as from a machine. The slot is spoiled by it.
 */
export async function pretendGuest(slot: Slot, pool: SlotPool): Promise<Pretended> {
  const namespace = `${slot.namespace}guest`;
  await run("ip", ["netns", "add", namespace]);
  const tap = `dev ${slot.tap}`;
  await batch(slot.namespace, [
    `link delete ${slot.tap}`,
    `link add ${slot.tap} address ${inner.gatewayMac} type veth peer name eth0 address ${inner.guestMac} netns ${namespace}`,
    `addr add ${inner.gatewayAddress}/${inner.prefixLength} ${tap}`,
    `link set ${slot.tap} up`,
    `neigh add ${inner.guestAddress} lladdr ${inner.guestMac} ${tap} nud permanent`,
  ]);
  await attachFilter(slot, pool.egress.filterFolder);
  await batch(namespace, [
    `addr add ${inner.guestAddress}/${inner.prefixLength} dev eth0`,
    "link set eth0 up",
    `route add default via ${inner.gatewayAddress}`,
  ]);
  return withProbe(namespace);
}

/**
 * Makes a namespace that stands for the world beyond the host: a link of small packets, and on its far side an
 * ordinary address (documentation range TEST-NET-2, RFC 5737) and the cloud metadata address.
 */
export async function pretendInternet(name: string): Promise<Pretended & { address: string; hostAddress: string }> {
  const hostAddress = "198.51.100.1";
  const address = "198.51.100.2";
  await run("ip", ["netns", "add", name]);
  try {
    await run("ip", ["-batch", "-"], {
      input: [
        `link add ${name} type veth peer name eth0 netns ${name}`,
        `link set ${name} mtu 1300 up`,
        `addr add ${hostAddress}/24 dev ${name}`,
        `route add 169.254.169.254 via ${address} dev ${name} onlink`,
        "",
      ].join("\n"),
    });
    await batch(name, [
      `addr add ${address}/24 dev eth0`,
      "addr add 169.254.169.254/32 dev lo",
      "link set lo up",
      "link set eth0 mtu 1300 up",
      `route add default via ${hostAddress}`,
    ]);
    return { ...(await withProbe(name)), address, hostAddress };
  } catch (error) {
    // Another one has these addresses, as a rule.
    await run("ip", ["netns", "delete", name]);
    throw error;
  }
}

/** Runs lines of ip(8) in a namespace. */
export async function batch(namespace: string, lines: string[]): Promise<void> {
  const input = `${lines.join("\n")}\n`;
  await run("nsenter", [`--net=/run/netns/${namespace}`, "ip", "-batch", "-"], { input });
}

async function withProbe(namespace: string): Promise<Pretended> {
  const probe = await startProbe(namespace);
  return {
    namespace,
    probe,
    async [Symbol.asyncDispose]() {
      await probe[Symbol.asyncDispose]();
      await run("ip", ["netns", "delete", namespace]);
    },
  };
}
