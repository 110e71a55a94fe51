import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { fileURLToPath } from "node:url";
import { DormouseError, type Logger, systemClock } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { classes, indexOfName, inner, marks, type Slot } from "./slot.ts";

const namespaceFolder = "/run/netns";
const linkFolder = "/sys/class/net";
const configureScript = fileURLToPath(new URL("configure-slots.sh", import.meta.url));
const batchTimeoutMs = 120_000;
/** The kernel takes namespaces apart in the background, some hundred at a time. No link gone for this long: pinned. */
const dismantleStallMs = 2_000;
const dismantlePollMs = 10;

/**
 * Makes slots in the kernel, a whole batch with one `ip` and one shell. When it fails nothing of the batch is left.
 * @param filterFolder where the programs are pinned that decide what leaves.
 * @throws DormouseError `internal` with what `ip` or `nft` said.
 */
export async function prepareSlots(slots: readonly Slot[], filterFolder: string, logger: Logger): Promise<void> {
  try {
    await run("ip", ["-batch", "-"], { input: slots.map(linkCommands).join(""), timeoutMs: batchTimeoutMs });
    await configure("all", slots, filterFolder);
  } catch (error) {
    await destroySlots(slots, logger);
    throw error;
  }
}

/** Puts what enforces the egress policy on a slot that exists, in place of what an earlier process put there. */
export async function attachFilter(slot: Slot, filterFolder: string): Promise<void> {
  await configure("filter", [slot], filterFolder);
}

async function configure(what: "all" | "filter", slots: readonly Slot[], filterFolder: string): Promise<void> {
  const lines = slots.map(
    ({ namespace, index, uid, hostAddress, address }) =>
      `${namespace} ${index.toString(16)} ${uid} ${hostAddress} ${address}\n`,
  );
  await run("sh", [configureScript, what], {
    input: lines.join(""),
    env: { PATH: process.env.PATH, filterFolder, ...mapToStrings({ ...inner, ...marks, ...classes }) },
    timeoutMs: batchTimeoutMs,
  });
}

// One transmit queue each: a pair of links has as many as the machine has processors otherwise.
function linkCommands(slot: Slot): string {
  const { namespace, hostLink, hostAddress, address } = slot;
  const queues = "numtxqueues 1 numrxqueues 1";
  return [
    `netns add ${namespace}`,
    `link add ${hostLink} address ${inner.hostMac} ${queues} type veth ` +
      `peer name ${inner.uplink} address ${inner.uplinkMac} ${queues} netns ${namespace}`,
    `link set ${hostLink} addrgenmode none`,
    `addr add ${hostAddress}/31 dev ${hostLink}`,
    `link set ${hostLink} up`,
    `neigh add ${address} lladdr ${inner.uplinkMac} dev ${hostLink} nud permanent`,
    "",
  ].join("\n");
}

/**
 * Gives slots back to the kernel, whatever state they are in, also half made or long gone: namespace, links, tap,
 * addresses, rules and connection tracking. Resolves when their names are free again.
 * @throws DormouseError `internal` naming what would not go.
 */
export async function destroySlots(
  slots: readonly Pick<Slot, "namespace" | "hostLink">[],
  logger: Logger,
): Promise<void> {
  const existing = slots.filter((slot) => existsSync(`${namespaceFolder}/${slot.namespace}`));
  if (existing.length > 0) {
    await run("ip", ["-force", "-batch", "-"], {
      input: existing.map((slot) => `netns delete ${slot.namespace}\n`).join(""),
      timeoutMs: batchTimeoutMs,
      // A file left by a killed `netns add` is no mount; ip complains, and removes the file all the same.
      okCodes: [0, 1, 2],
    });
  }
  await linksGone(existing);
  const links = linksOf(slots);
  if (links.length > 0) {
    // A process that is still in the namespace keeps it alive; without its link it reaches nobody.
    logger.warn("links outlived their namespaces and are deleted", { links: links.slice(0, 20), count: links.length });
    await run("ip", ["-force", "-batch", "-"], {
      input: links.map((link) => `link delete ${link}\n`).join(""),
      timeoutMs: batchTimeoutMs,
      okCodes: [0, 1, 2],
    });
  }
  const namespaces = slots.map((slot) => slot.namespace).filter((name) => existsSync(`${namespaceFolder}/${name}`));
  const left = [...namespaces, ...linksOf(slots)];
  if (left.length > 0) throw new DormouseError("internal", `the kernel still has ${left.slice(0, 5).join(", ")}`);
}

/**
 * Waits while links go with their deleted namespaces. Deleting them one by one would cost about 20 ms each, as each
 * waits for the kernel's readers; namespaces go in batches.
 */
async function linksGone(slots: readonly Pick<Slot, "hostLink">[]): Promise<void> {
  let links = linksOf(slots);
  let progressAtMs = systemClock.nowMs();
  while (links.length > 0 && systemClock.nowMs() - progressAtMs < dismantleStallMs) {
    await systemClock.sleep(dismantlePollMs);
    const left = links.filter((link) => existsSync(`${linkFolder}/${link}`));
    if (left.length < links.length) progressAtMs = systemClock.nowMs();
    links = left;
  }
}

/** Indexes of all slots of a platform of which the kernel has anything, whole or half made. */
export async function existingSlotIndexes(namePrefix: string): Promise<Set<number>> {
  const namespaces = await readdir(namespaceFolder).catch((error: NodeJS.ErrnoException) => {
    // The folder comes with the first namespace since the machine started.
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const names = [...namespaces, ...(await readdir(linkFolder))];
  return new Set(names.map((name) => indexOfName(namePrefix, name)).filter((index) => index !== undefined));
}

/** Whether the kernel has a slot's namespace or link. */
export function slotIsPresent(slot: Slot): boolean {
  return existsSync(`${namespaceFolder}/${slot.namespace}`) || existsSync(`${linkFolder}/${slot.hostLink}`);
}

/** Whether the kernel has a slot's namespace, and its link with the slot's own addresses. */
export function slotIsWhole(slot: Slot): boolean {
  const addresses = networkInterfaces()[slot.hostLink] ?? [];
  return (
    existsSync(`${namespaceFolder}/${slot.namespace}`) && addresses.some(({ address }) => address === slot.hostAddress)
  );
}

function linksOf(slots: readonly Pick<Slot, "hostLink">[]): string[] {
  return slots.map((slot) => slot.hostLink).filter((link) => existsSync(`${linkFolder}/${link}`));
}

function mapToStrings(values: Record<string, string | number>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
}
