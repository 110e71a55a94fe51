import { once } from "node:events";
import { unwatchFile, watchFile } from "node:fs";
import { createServer } from "node:net";
import { type Disposer, DormouseError, disposer, type Logger } from "@dormouse/base";
import { withFileLock } from "@dormouse/base/node";
import { addressRangeFor } from "./address-range.ts";
import { type DnsRelay, startDnsRelay } from "./dns-relay.ts";
import { type EgressEngine, openEgressEngine } from "./egress/engine.ts";
import { installHostRules, openHost, removeHostRules } from "./host-rules.ts";
import type { Ipv4Range } from "./ipv4.ts";
import { findResolver, isLoopback, type Resolver, resolverFiles } from "./resolver.ts";

/** Held while a platform picks its range and writes it down, so that two that start together see each other. */
const rangeLock = "/run/dormouse-network.lock";
const rangeLockTimeoutMs = 60_000;
const resolverPollMs = 5_000;
const dnsPort = 53;
/** Nobody's: below all users of machines, and beyond what useradd, systemd and container engines give out by default. */
const proxyUid = 999_999_999;

/** The host's side of all slots of one platform, and the proof that no other process manages the same ones. */
export interface HostNetwork {
  readonly range: Ipv4Range;
  readonly egress: EgressEngine;
  /**
   * Lets go. `keepRules` leaves the rules and the filter for machines that run on; relay, resolver and proxy end in any
   * case, and nothing leaves that needs them.
   */
  close(options: { keepRules: boolean }): Promise<void>;
}

/** What {@link openHostNetwork} goes by. */
export interface HostNetworkOptions {
  namePrefix: string;
  /** A range in CIDR form, or undefined to find a free one. */
  addressPool: string | undefined;
  /** So many slots must fit. */
  max: number;
  /** Whether the kernel has slots of this platform, which keep their range. */
  slotsExist: boolean;
  /** Address of a resolver to use in place of the host's; one on the loopback is asked through a relay. */
  resolver: string | undefined;
  /** Where what is compiled is kept. */
  cacheDir: string;
  logger: Logger;
}

/**
 * Claims the name prefix, finds the address range and the resolver, installs the rules, and follows the host's
 * resolver when it changes.
 * @throws DormouseError `failed_precondition` when another process holds the prefix; see also {@link addressRangeFor}.
 */
export async function openHostNetwork(options: HostNetworkOptions): Promise<HostNetwork> {
  const owned = disposer();
  try {
    const { range, egress } = await open(options, owned);
    return {
      range,
      egress,
      async close({ keepRules }) {
        await using _last = owned;
        if (keepRules) return;
        await removeHostRules({ namePrefix: options.namePrefix, range });
        await egress.remove();
      },
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}

async function open(options: HostNetworkOptions, owned: Disposer): Promise<{ range: Ipv4Range; egress: EgressEngine }> {
  const { namePrefix, logger } = options;
  owned.add(await claimPrefix(namePrefix));
  await openHost();

  let relay: { target: string; server: DnsRelay } | undefined;
  owned.add(async () => relay?.server[Symbol.asyncDispose]());
  let upstream = { address: "127.0.0.1", port: dnsPort };
  const currentResolver = async (): Promise<Resolver> => {
    const address = options.resolver ?? (await findResolver());
    upstream = { address, port: dnsPort };
    if (!isLoopback(address)) return { kind: "upstream", address };
    if (relay?.target !== address) {
      await relay?.server[Symbol.asyncDispose]();
      relay = { target: address, server: await startDnsRelay({ address, port: dnsPort }, logger) };
      logger.info("the resolver is on this host's loopback; guests ask it through a relay", { address });
    }
    return { kind: "relay", port: relay.server.port };
  };

  let resolver = await currentResolver();
  const chooseAndInstall = async () => {
    const range = await addressRangeFor({ ...options, wanted: options.addressPool });
    const { cacheDir } = options;
    const egress = await openEgressEngine({ namePrefix, range, cacheDir, proxyUid, upstream: () => upstream, logger });
    owned.add(() => egress[Symbol.asyncDispose]());
    await installHostRules({ namePrefix, range, resolver, egress: egress.ports });
    return { range, egress };
  };
  const { range, egress } = await withFileLock(rangeLock, chooseAndInstall, { timeoutMs: rangeLockTimeoutMs });

  const follow = async () => {
    try {
      const next = await currentResolver();
      if (JSON.stringify(next) === JSON.stringify(resolver)) return;
      await installHostRules({ namePrefix, range, resolver: next, egress: egress.ports });
      resolver = next;
      logger.info("the host's resolver changed", { resolver });
    } catch (error) {
      logger.warn("the host's new resolver could not be taken over; guests keep asking the old one", { error });
    }
  };
  let following = Promise.resolve();
  const onChange = () => {
    following = following.then(follow);
  };
  for (const file of resolverFiles) watchFile(file, { persistent: false, interval: resolverPollMs }, onChange);
  owned.add(() => {
    for (const file of resolverFiles) unwatchFile(file, onChange);
    return following;
  });
  return { range, egress };
}

/**
 * Takes the prefix for the life of this process. The claim is a socket in the kernel's abstract namespace (unix(7)),
 * which is gone with its process, however that ends.
 */
async function claimPrefix(namePrefix: string): Promise<() => void> {
  const claim = createServer((socket) => socket.destroy());
  claim.listen(`\0dormouse-network-${namePrefix}`);
  try {
    await once(claim, "listening");
  } catch (cause) {
    throw new DormouseError("failed_precondition", `another process already manages the slots named "${namePrefix}"`, {
      cause,
    });
  }
  claim.unref();
  return () => {
    claim.close();
  };
}
