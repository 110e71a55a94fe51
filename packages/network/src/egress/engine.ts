import { createSecureContext, getCACertificates } from "node:tls";
import { DormouseError, disposer, type Logger } from "@dormouse/base";
import { formatIpv4, type Ipv4Range, parseIpv4 } from "../ipv4.ts";
import {
  type Attempt,
  type Decision,
  decide,
  type EgressPolicy,
  type ParsedPolicy,
  parsePolicy,
} from "../policy/policy.ts";
import { normalName } from "../policy/rule.ts";
import { type AuthorityCertificate, createAuthority } from "./authority.ts";
import { createDnsClient } from "./dns-client.ts";
import { startDnsServer } from "./dns-server.ts";
import { type EgressCounters, openFilter, type RefusalReason, removeFilters } from "./filter.ts";
import { kernelPolicyOf } from "./kernel-policy.ts";
import { type Egress, newEgress, pinAgain, resolveName } from "./names.ts";
import { openEgressPrograms } from "./native.ts";
import { startProxy } from "./proxy.ts";
import { type MachineSecrets, SecretSet } from "./secrets.ts";

/** What a machine tried and was refused. */
export interface Refusal {
  slotIndex: number;
  atMs: number;
  /** The name that was said or asked for, or that led to the address; null: none is known. */
  name: string | null;
  /** Null for a question. */
  address: string | null;
  /** 53 for a question. */
  port: number;
  protocol: "dns" | "tcp" | "udp" | "icmp" | "other";
  bytes: number;
  reason: string;
}

/** What lets machines' packets out, for all slots of a platform. */
export interface EgressEngine extends AsyncDisposable {
  /** Folder of the pinned programs. */
  readonly filterFolder: string;
  /** Where the host's rules send questions and connections that have to be looked at. */
  readonly ports: { resolver: number; proxy: number };
  /**
   * From now on this is what may leave a slot. Connections that are open and not allowed any more are cut.
   * @throws DormouseError `invalid_argument` with what is wrong with the policy; the slot keeps what it has.
   */
  setPolicy(slotIndex: number, policy: EgressPolicy): Promise<void>;
  /**
   * From now on these are the secrets of the machine in a slot that has a policy. Connections to hosts for which they were
   * others before are cut.
   * @throws DormouseError `invalid_argument` for a host that is none, `failed_precondition` without a policy.
   */
  setSecrets(slotIndex: number, secrets: MachineSecrets): Promise<void>;
  /** What an organisation's machines have to trust for these hosts. */
  certificate(organisation: string, hosts: readonly string[]): AuthorityCertificate;
  /** Nothing leaves the slot any more. */
  clear(slotIndex: number): Promise<void>;
  /** Clears all slots but these, of which an earlier process may have left policies. */
  retain(slotIndexes: Iterable<number>): Promise<void>;
  /** What went through. */
  count(slotIndex: number): Promise<EgressCounters>;
  /** What would become of a connection, without opening one; names are resolved as they would be for the machine. */
  test(slotIndex: number, attempt: { host: string; port: number; protocol: "web" | "tcp" | "udp" }): Promise<Decision>;
  /** Hears of what was refused; one of many when there are many. */
  onRefused(listener: (refusal: Refusal) => void): () => void;
  /** Processes of it that run, for tests that end them. */
  pids(): number[];
  /** Also takes the filter out of the kernel. */
  remove(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const reportsPerSecond = 8;
const reportBurst = 64;
const protocolNames: Record<number, Refusal["protocol"]> = { 1: "icmp", 6: "tcp", 17: "udp" };
const refusalTexts: Record<RefusalReason, string> = {
  address: "no rule allows it",
  source: "its sender's address is forged",
  form: "a fragment, or a packet with options or of a kind that is not let through",
  protocol: "other than IPv4 with TCP, UDP or ICMP",
  rate: "too many at a time",
  policy: "there is no policy yet",
  "": "",
};

/**
 * Opens all that enforces policies: the filter in the kernel, the resolver and the proxy. What an earlier process set in the
 * kernel goes on being enforced meanwhile. Needs root.
 * @param options.upstream address and port of the resolver of allowed names, as it is now.
 */
export async function openEgressEngine(options: {
  namePrefix: string;
  range: Ipv4Range;
  cacheDir: string;
  /** The program that faces machines runs as this user. */
  proxyUid: number;
  /** What authorities of organisations are made from. */
  authoritySecret: string;
  /** Root certificates, as PEM, that servers which get secrets may have beside those of Node and the host's system. */
  extraRoots: readonly string[];
  upstream: () => { address: string; port: number };
  logger: Logger;
}): Promise<EgressEngine> {
  const { namePrefix, range, logger } = options;
  await using owned = disposer();
  const egresses = new Map<number, Egress>();
  const listeners = new Set<(refusal: Refusal) => void>();
  const budgets = new Map<number, { tokens: number; filledMs: number }>();
  const egressOf = (from: string): Egress | undefined => {
    const offset = (parseIpv4(from) ?? -1) - range.network;
    return offset % 2 === 1 ? egresses.get((offset - 1) / 2) : undefined;
  };
  const tell = (refusal: Omit<Refusal, "atMs">) => {
    for (const listener of listeners) listener({ ...refusal, atMs: Date.now() });
  };
  /** The filter has a measure of its own. */
  const tellSome = (refusal: Omit<Refusal, "atMs">) => {
    const nowMs = Date.now();
    const budget = budgets.get(refusal.slotIndex) ?? { tokens: reportBurst, filledMs: nowMs };
    budgets.set(refusal.slotIndex, budget);
    budget.tokens = Math.min(reportBurst, budget.tokens + ((nowMs - budget.filledMs) / 1_000) * reportsPerSecond);
    budget.filledMs = nowMs;
    if (budget.tokens < 1) return;
    budget.tokens--;
    tell(refusal);
  };

  const programs = await openEgressPrograms(options.cacheDir);
  const filter = await openFilter({
    namePrefix,
    programs,
    onRefused: ({ slotIndex, address, port, protocol, reason, bytes }) => {
      const name = egresses.get(slotIndex)?.names.namesOf(address)[0]?.name ?? null;
      const named = protocolNames[protocol] ?? "other";
      tell({
        slotIndex,
        name,
        address: formatIpv4(address),
        port,
        protocol: named,
        bytes,
        reason: refusalTexts[reason],
      });
    },
    logger,
  });
  owned.add(() => filter[Symbol.asyncDispose]());
  const client = createDnsClient(options.upstream);
  const resolve = (egress: Egress, name: string) => resolveName(egress, name, { client, filter });
  const dns = await startDnsServer(async (from, name) => {
    const egress = egressOf(from);
    if (!egress) return undefined;
    const resolution = await resolve(egress, name);
    if (resolution.kind === "refused") {
      const { slotIndex } = egress;
      tellSome({ slotIndex, name, address: null, port: 53, protocol: "dns", bytes: 0, reason: resolution.reason });
    }
    return resolution;
  }, logger);
  owned.add(() => dns[Symbol.asyncDispose]());
  const leadsTo = async (egress: Egress, name: string, address: number) => {
    if (egress.names.leadsTo(name, address, Date.now())) return true;
    // After a sleep or a restart the machine knows addresses that were not asked for here.
    const resolution = await resolve(egress, name);
    return resolution.kind === "answered" && resolution.addresses.includes(address);
  };
  const authority = createAuthority(options.authoritySecret);
  const roots = [...getCACertificates("default"), ...getCACertificates("system"), ...options.extraRoots];
  const proxy = await startProxy({
    contextOf: authority.contextOf,
    roots: createSecureContext({ ca: [...new Set(roots)] }),
    program: programs.proxy,
    uid: options.proxyUid,
    egressOf,
    leadsTo,
    onRefused: ({ slotIndex }, { name = null, address, port, reason }) =>
      tellSome({ slotIndex, name, address: formatIpv4(address), port, protocol: "tcp", bytes: 0, reason }),
    logger,
  });
  owned.add(() => proxy[Symbol.asyncDispose]());
  let ending: Promise<void> | undefined;
  const end = () => {
    ending ??= endAll();
    return ending;
  };
  const endAll = async () => {
    await proxy[Symbol.asyncDispose]();
    await dns[Symbol.asyncDispose]();
    await filter[Symbol.asyncDispose]();
  };
  owned.release();
  /** What the filter has to know of a slot: its policy, and whether it has secrets. */
  const enforce = async (slotIndex: number, policy: ParsedPolicy, hasSecrets: boolean): Promise<bigint> => {
    const { epoch } = await filter.setPolicy(slotIndex, kernelPolicyOf(policy, { hasSecrets }));
    return epoch;
  };

  return {
    filterFolder: filter.folder,
    ports: { resolver: dns.port, proxy: proxy.port },
    async setPolicy(slotIndex, policy) {
      const parsed = parsePolicy(policy);
      const known = egresses.get(slotIndex);
      const epoch = await enforce(slotIndex, parsed, (known?.secrets.hosts.length ?? 0) > 0);
      if (!known) {
        egresses.set(slotIndex, newEgress(slotIndex, parsed, epoch));
        return;
      }
      known.policy = parsed;
      known.epoch = epoch;
      proxy.reconsider(known);
      await pinAgain(known, filter);
    },
    async setSecrets(slotIndex, secrets) {
      const known = egresses.get(slotIndex);
      if (!known) throw new DormouseError("failed_precondition", `slot ${slotIndex} has no policy yet`);
      const before = known.secrets;
      const next = new SecretSet(secrets);
      // First what decides about requests: a value that was taken back is not sent any more from here on.
      known.secrets = next;
      proxy.reconsiderSecrets(known, before);
      if (before.hosts.length > 0 === next.hosts.length > 0) return;
      known.epoch = await enforce(slotIndex, known.policy, next.hosts.length > 0);
      await pinAgain(known, filter);
    },
    certificate: authority.certificate,
    async clear(slotIndex) {
      egresses.delete(slotIndex);
      budgets.delete(slotIndex);
      proxy.drop(formatIpv4(range.network + 2 * slotIndex + 1));
      await filter.clear(slotIndex);
    },
    retain: (slotIndexes) => filter.retain(slotIndexes),
    count: (slotIndex) => filter.count(slotIndex),
    async test(slotIndex, { host, port, protocol }) {
      const egress = egresses.get(slotIndex);
      if (!egress) return { isAllowed: false, reason: "there is no policy yet" };
      const address = parseIpv4(host);
      if (address !== undefined)
        return decide(egress.policy, { protocol: protocol === "udp" ? "udp" : "tcp", address, port });
      const name = normalName(host);
      if (name === undefined) {
        throw new DormouseError("invalid_argument", `host is "${host}"; it must be a name or an IPv4 address`);
      }
      const named = decide(egress.policy, { protocol, name, port });
      const resolution = await resolve(egress, name);
      if (resolution.kind === "refused") return { isAllowed: false, reason: resolution.reason };
      const [resolved] = resolution.addresses;
      if (resolved === undefined) return { isAllowed: false, reason: `${name} has no address: ${resolution.rcode}` };
      const attempt: Attempt = { protocol, name, address: resolved, port };
      const decision = named.isAllowed ? named : decide(egress.policy, attempt);
      return decision.isAllowed ? decision : { isAllowed: false, reason: decision.reason };
    },
    onRefused(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    pids: () => [proxy.pid, filter.pid].filter((pid) => pid !== undefined),
    async remove() {
      await end();
      await removeFilters(namePrefix);
    },
    [Symbol.asyncDispose]: end,
  };
}
