import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, type Logger } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type Frame, startFramedProcess } from "./frames.ts";
import { type KernelPolicy, maxPortRules, type PortRule } from "./kernel-policy.ts";
import type { EgressPrograms } from "./native.ts";

const bpfFolder = "/sys/fs/bpf";
const answerTimeoutMs = 10_000;
const bytesPerPortRule = 8;
const portRulesBytes = 4 + maxPortRules * bytesPerPortRule;

/** What `egress-maps` understands, see `native/egress-maps.c`. */
const ops = { setPolicy: 1, clear: 2, pin: 3, unpin: 4, count: 5, retain: 6 } as const;
const replies = { reply: 0, report: 1 } as const;
const refusals = ["", "address", "source", "form", "protocol", "rate", "policy"] as const;

/** Why the filter let a packet not through; see `enum refusal` of `native/egress-abi.h`. */
export type RefusalReason = (typeof refusals)[number];

/** A packet that the filter did not let through; one of many when there are many. */
export interface RefusedPacket {
  slotIndex: number;
  address: number;
  port: number;
  protocol: number;
  reason: RefusalReason;
  bytes: number;
}

/** What went through a slot's tap since it has a policy. */
export interface EgressCounters {
  sentBytes: number;
  sentPackets: number;
  receivedBytes: number;
  receivedPackets: number;
  refusedBytes: number;
  refusedPackets: number;
}

/** The filter in the kernel. Programs and maps are pinned and outlive this process. */
export interface Filter extends AsyncDisposable {
  /** Folder of the pinned programs, for who attaches them. */
  readonly folder: string;
  readonly pid: number | undefined;
  /** From now on a slot's packets are decided by this; connections that are open too. */
  setPolicy(slotIndex: number, policy: KernelPolicy): Promise<{ epoch: bigint }>;
  /** A slot without a policy reaches nothing. */
  clear(slotIndex: number): Promise<void>;
  /** Lets a slot through to an address for a time. */
  pin(pin: {
    slotIndex: number;
    address: number;
    epoch: bigint;
    forMs: number;
    rules: readonly PortRule[];
  }): Promise<void>;
  count(slotIndex: number): Promise<EgressCounters>;
  /** Clears all slots but these. */
  retain(slotIndexes: Iterable<number>): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Loads the filter unless an earlier process of the platform has, and takes over its maps.
 * @throws DormouseError `internal` with what the kernel or the program said.
 */
export async function openFilter(options: {
  namePrefix: string;
  programs: EgressPrograms;
  onRefused: (packet: RefusedPacket) => void;
  logger: Logger;
}): Promise<Filter> {
  const { namePrefix, programs, onRefused, logger } = options;
  await mountBpf();
  const folder = filterFolder(namePrefix, programs.hash);
  await mkdir(join(folder, ".."), { recursive: true, mode: 0o700 });
  const waiting = new Map<number, { resolve(payload: Buffer): void; reject(error: Error): void }>();
  let lastId = 0;
  const onFrame = ({ kind, id, payload }: Frame) => {
    if (kind === replies.report) onRefused(readRefused(payload));
    const asker = waiting.get(id);
    if (kind !== replies.reply || !asker) return;
    const code = payload.readInt32LE(0);
    if (code === 0) asker.resolve(payload.subarray(4));
    else asker.reject(new DormouseError("internal", `the egress filter's maps could not be changed: errno ${code}`));
  };
  const program = await startFramedProcess({
    command: programs.maps,
    args: () => [programs.filter, folder],
    isFirst: ({ kind, id }) => kind === replies.reply && id === 0,
    onFrame,
    onEnd: () => {
      for (const { reject } of waiting.values()) {
        reject(new DormouseError("unavailable", "the program that keeps the egress filter's maps ended"));
      }
    },
    logger,
  });
  const ask = async (kind: number, payload: Buffer): Promise<Buffer> => {
    await program.ready();
    const id = ++lastId;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const message = `the program that keeps the egress filter's maps did not answer within ${answerTimeoutMs} ms`;
    const timer = setTimeout(() => reject(new DormouseError("deadline_exceeded", message)), answerTimeoutMs);
    waiting.set(id, { resolve, reject });
    program.send({ kind, id, payload });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      waiting.delete(id);
    }
  };
  // Larger than every earlier one, also of an earlier process.
  let lastEpoch = BigInt(Date.now()) << 20n;
  return {
    folder,
    get pid() {
      return program.pid;
    },
    async setPolicy(slotIndex, policy) {
      const epoch = ++lastEpoch;
      await ask(ops.setPolicy, policyPayload(slotIndex, epoch, policy));
      return { epoch };
    },
    async clear(slotIndex) {
      await ask(ops.clear, uint32(slotIndex));
    },
    async pin({ slotIndex, address, epoch, forMs, rules }) {
      const head = Buffer.alloc(24);
      head.writeUInt32LE(slotIndex, 0);
      head.writeUInt32BE(address, 4);
      head.writeBigUInt64LE(epoch, 8);
      // The kernel's clock is the one of `process.hrtime` (CLOCK_MONOTONIC).
      head.writeBigUInt64LE(monotonicNs() + BigInt(Math.max(0, Math.round(forMs))) * 1_000_000n, 16);
      // Aligned as the structure is.
      await ask(ops.pin, Buffer.concat([head, portRulesPayload(rules), Buffer.alloc(4)]));
    },
    async count(slotIndex) {
      const payload = await ask(ops.count, uint32(slotIndex));
      const at = (index: number) => Number(payload.readBigUInt64LE(8 * index));
      return {
        sentBytes: at(0),
        sentPackets: at(1),
        receivedBytes: at(2),
        receivedPackets: at(3),
        refusedBytes: at(4),
        refusedPackets: at(5),
      };
    },
    async retain(slotIndexes) {
      await ask(ops.retain, Buffer.concat([...slotIndexes].map(uint32)));
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Takes a platform's filter out of the kernel, all versions of it, or all but one. What is attached still goes on. */
export async function removeFilters(namePrefix: string, except?: string): Promise<void> {
  const folder = join(bpfFolder, platformFolder(namePrefix));
  const versions = await readdir(folder).catch(() => []);
  for (const version of versions) {
    if (version !== except) await rm(join(folder, version), { recursive: true, force: true });
  }
  if (except === undefined) await rm(folder, { recursive: true, force: true });
}

function filterFolder(namePrefix: string, hash: string): string {
  return join(bpfFolder, platformFolder(namePrefix), hash);
}

function platformFolder(namePrefix: string): string {
  return `dormouse_${namePrefix}`;
}

/** Most machines have it mounted; where no systemd does so, nobody has. */
async function mountBpf(): Promise<void> {
  const { stdout } = await run("stat", ["--file-system", "--format=%T", bpfFolder]);
  if (stdout.trim() !== "bpf_fs") await run("mount", ["-t", "bpf", "bpf", bpfFolder]);
}

function policyPayload(slotIndex: number, epoch: bigint, policy: KernelPolicy): Buffer {
  const head = Buffer.alloc(4 + 48);
  head.writeUInt32LE(slotIndex, 0);
  head.writeBigUInt64LE(epoch, 4);
  const flags = (policy.isOpen ? 1 : 0) | (policy.asksForNames ? 2 : 0) | (policy.proxiesFirst ? 4 : 0);
  head.writeUInt32LE(flags, 12);
  head.writeUInt32LE(policy.proxied.length, 16);
  for (const [index, { low, high }] of policy.proxied.entries()) {
    head.writeUInt16LE(low, 20 + 4 * index);
    head.writeUInt16LE(high, 22 + 4 * index);
  }
  const keys = Buffer.alloc(8 * policy.ranges.length);
  for (const [index, { range }] of policy.ranges.entries()) {
    keys.writeUInt32LE(range.prefixLength, 8 * index);
    keys.writeUInt32BE(range.network, 8 * index + 4);
  }
  return Buffer.concat([head, keys, ...policy.ranges.map(({ rules }) => portRulesPayload(rules))]);
}

function portRulesPayload(rules: readonly PortRule[]): Buffer {
  const payload = Buffer.alloc(portRulesBytes);
  const fitting = rules.slice(0, maxPortRules);
  payload.writeUInt32LE(fitting.length, 0);
  for (const [index, { low, high, protocol, isAllowed }] of fitting.entries()) {
    const at = 4 + bytesPerPortRule * index;
    payload.writeUInt16LE(low, at);
    payload.writeUInt16LE(high, at + 2);
    payload.writeUInt8(protocol, at + 4);
    payload.writeUInt8(isAllowed ? 1 : 0, at + 5);
  }
  return payload;
}

function readRefused(payload: Buffer): RefusedPacket {
  return {
    slotIndex: payload.readUInt32LE(0),
    address: payload.readUInt32BE(4),
    port: payload.readUInt16LE(8),
    protocol: payload.readUInt8(10),
    reason: refusals[payload.readUInt8(11)] ?? "",
    bytes: payload.readUInt32LE(12),
  };
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value, 0);
  return bytes;
}

function monotonicNs(): bigint {
  return process.hrtime.bigint();
}
