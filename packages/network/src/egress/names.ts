import type { Answer } from "dns-packet";
import { formatIpv4, parseIpv4 } from "../ipv4.ts";
import { decideName, isSpecial, type ParsedPolicy } from "../policy/policy.ts";
import { normalName } from "../policy/rule.ts";
import type { DnsClient } from "./dns-client.ts";
import type { Filter } from "./filter.ts";
import { maxPortRules, pinnedRules } from "./kernel-policy.ts";
import { ResolvedNames } from "./resolved-names.ts";
import { SecretSet } from "./secrets.ts";

const maxChain = 16;

/** A machine's policy, and what it has asked for. */
export interface Egress {
  readonly slotIndex: number;
  policy: ParsedPolicy;
  /** Of the policy, as the filter knows it. */
  epoch: bigint;
  readonly names: ResolvedNames;
  secrets: SecretSet;
}

/** What is answered to a question for a name's addresses. */
export type Resolution =
  | { kind: "refused"; reason: string }
  | { kind: "answered"; rcode: string; records: readonly Answer[]; addresses: readonly number[] };

/** Makes the state of a machine whose policy was just set. */
export function newEgress(slotIndex: number, policy: ParsedPolicy, epoch: bigint): Egress {
  return { slotIndex, policy, epoch, names: new ResolvedNames(), secrets: SecretSet.none };
}

/**
 * Resolves a name for a machine, as far as its policy lets it. What is refused is refused without asking anybody. The
 * addresses are pinned in the filter before they are told.
 * @throws DormouseError when the resolver does not answer.
 */
export async function resolveName(
  egress: Egress,
  name: string,
  { client, filter }: { client: DnsClient; filter: Pick<Filter, "pin"> },
): Promise<Resolution> {
  const decision = decideName(egress.policy, name);
  if (!decision.isAllowed) return { kind: "refused", reason: decision.reason };
  const { rcode, records } = await client.addresses(name);
  // The policy may have become another one in the meantime.
  const { policy } = egress;
  const chain = followChain(name, records);
  const denied = chain.names
    .map((alias) => decideName(policy, alias))
    .find(({ reason }) => reason.startsWith("denied"));
  if (denied) return { kind: "refused", reason: `it is an alias of a name ${denied.reason}` };
  const addresses = chain.addresses.filter(({ address }) => isBelievable(policy, name, address));
  const [first] = chain.addresses;
  if (first && addresses.length === 0) {
    return {
      kind: "refused",
      reason: `it resolves to ${formatIpv4(first.address)}, which is private or outside the cap`,
    };
  }
  await remember(egress, name, addresses, filter);
  const told = [...chain.aliases, ...addresses.map(({ record }) => record)];
  return { kind: "answered", rcode, records: told, addresses: addresses.map(({ address }) => address) };
}

/** Tells the filter again what names resolved to, after the policy or the filter has become another one. */
export async function pinAgain(egress: Egress, filter: Pick<Filter, "pin">): Promise<void> {
  for (const address of egress.names.addresses()) await pinAddress(egress, address, filter);
}

/** Where a name leads in an answer; records that do not belong to its chain are left out. */
function followChain(name: string, records: readonly Answer[]) {
  const aliases: Answer[] = [];
  const names: string[] = [];
  const targets = new Map<string, { record: Answer; target: string }>();
  for (const record of records) {
    if (record.type === "CNAME") targets.set(record.name.toLowerCase(), { record, target: record.data.toLowerCase() });
  }
  let current = name;
  for (let step = 0; step < maxChain; step++) {
    const next = targets.get(current);
    if (!next || normalName(next.target) === undefined) break;
    aliases.push(next.record);
    names.push(next.target);
    current = next.target;
  }
  const addresses = records.flatMap((record) => {
    if (record.type !== "A" || record.name.toLowerCase() !== current) return [];
    const address = parseIpv4(record.data);
    return address === undefined ? [] : [{ address, ttlSeconds: record.ttl ?? 0, record }];
  });
  return { aliases, names, addresses };
}

/** An address that is private is believed only when rules speak of the address itself. */
function isBelievable(policy: ParsedPolicy, name: string, address: number): boolean {
  const isCapped = policy.caps.some((cap) => cap.ofName(name).length === 0 && cap.ofAddress(address).length === 0);
  if (
    isCapped ||
    policy.deny.ofAddress(address).some(({ protocol, ports }) => protocol === "any" && ports.length === 0)
  )
    return false;
  return policy.mode === "open" || !isSpecial(address) || policy.allow.ofAddress(address).length > 0;
}

async function remember(
  egress: Egress,
  name: string,
  addresses: readonly { address: number; ttlSeconds: number }[],
  filter: Pick<Filter, "pin">,
): Promise<void> {
  if (addresses.length === 0) return;
  const ttlSeconds = Math.min(...addresses.map((each) => each.ttlSeconds));
  egress.names.add(
    name,
    addresses.map(({ address }) => address),
    ttlSeconds,
    Date.now(),
  );
  for (const { address } of addresses) await pinAddress(egress, address, filter);
}

/** Several names may share an address: the filter is told of all that still lead to it. */
async function pinAddress({ slotIndex, policy, epoch, names }: Egress, address: number, filter: Pick<Filter, "pin">) {
  const nowMs = Date.now();
  const leading = names.namesOf(address);
  const valid = leading.filter(({ untilMs }) => untilMs > nowMs);
  // Connections that were opened while it was valid go on.
  const pinned = (valid.length > 0 ? valid : leading).map(({ name, untilMs }) => ({
    rules: decideName(policy, name).isAllowed ? pinnedRules(policy, name, address) : [],
    forMs: untilMs - nowMs,
  }));
  const rules = pinned.flatMap((each) => each.rules).slice(0, maxPortRules);
  if (rules.length === 0) return;
  const forMs = Math.min(...pinned.filter((each) => each.rules.length > 0).map((each) => each.forMs));
  await filter.pin({ slotIndex, address, epoch, forMs, rules });
}
