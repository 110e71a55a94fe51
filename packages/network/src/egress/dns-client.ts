import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { DormouseError } from "@dormouse/base";
import { type Answer, decode, encode, type Packet, RECURSION_DESIRED, TRUNCATED_RESPONSE } from "dns-packet";

const attemptTimeoutMs = 2_500;
const attempts = 3;
const maxCached = 4_096;
const maxCacheMs = 300_000;
const maxPending = 512;
/** What fits everywhere without fragments (DNS flag day 2020). */
const udpPayloadSize = 1_232;

/** What a resolver says of a name's IPv4 addresses. */
export interface UpstreamAnswer {
  /** As in RFC 1035 and after: NOERROR, NXDOMAIN, SERVFAIL, … */
  rcode: string;
  records: readonly Answer[];
}

/** Asks the host's resolver for addresses; what it says is kept as long as it says, five minutes at most. */
export interface DnsClient {
  /** @throws DormouseError `unavailable` when nobody answers, `resource_exhausted` when too many wait already. */
  addresses(name: string): Promise<UpstreamAnswer>;
}

/** @param upstream address and port of the resolver as it is now; asked again for each question. */
export function createDnsClient(upstream: () => { address: string; port: number }): DnsClient {
  const cache = new Map<string, { answer: UpstreamAnswer; untilMs: number }>();
  const pending = new Map<string, Promise<UpstreamAnswer>>();
  const ask = async (name: string): Promise<UpstreamAnswer> => {
    let failure: unknown;
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        return await askOnce(upstream(), name);
      } catch (error) {
        failure = error;
      }
    }
    throw new DormouseError("unavailable", `the resolver does not answer for ${name}`, { cause: failure });
  };
  const askAndKeep = async (name: string) => {
    const answer = await ask(name);
    const ttls = answer.records.map((record) => ("ttl" in record ? (record.ttl ?? 0) : 0));
    const lifeMs = answer.rcode === "NOERROR" && ttls.length > 0 ? Math.min(maxCacheMs, Math.min(...ttls) * 1_000) : 0;
    if (lifeMs > 0) {
      cache.delete(name);
      cache.set(name, { answer, untilMs: Date.now() + lifeMs });
      const [oldest] = cache.keys();
      if (cache.size > maxCached && oldest !== undefined) cache.delete(oldest);
    }
    return answer;
  };
  return {
    addresses(name) {
      const known = cache.get(name);
      if (known && known.untilMs > Date.now()) return Promise.resolve(known.answer);
      const under = pending.get(name);
      if (under) return under;
      if (pending.size >= maxPending) {
        return Promise.reject(new DormouseError("resource_exhausted", `${maxPending} questions wait for the resolver`));
      }
      const answer = askAndKeep(name).finally(() => pending.delete(name));
      pending.set(name, answer);
      return answer;
    },
  };
}

async function askOnce(server: { address: string; port: number }, name: string): Promise<UpstreamAnswer> {
  const id = randomInt(65_536);
  const question = encode({
    type: "query",
    id,
    flags: RECURSION_DESIRED,
    questions: [{ type: "A", class: "IN", name }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  });
  const isAnswer = (packet: Packet) => {
    const [asked, ...more] = packet.questions ?? [];
    return packet.type === "response" && packet.id === id && more.length === 0 && asked?.name.toLowerCase() === name;
  };
  const overUdp = await askUdp(server, question, isAnswer);
  const packet = (overUdp.flags ?? 0) & TRUNCATED_RESPONSE ? await askTcp(server, question, isAnswer) : overUdp;
  return { rcode: (packet as { rcode?: string }).rcode ?? "SERVFAIL", records: packet.answers ?? [] };
}

async function askUdp(
  server: { address: string; port: number },
  question: Buffer,
  isAnswer: (packet: Packet) => boolean,
): Promise<Packet> {
  // A socket for each question: its random port is half of what protects an answer from being forged.
  const socket = createSocket("udp4");
  const { promise, resolve, reject } = Promise.withResolvers<Packet>();
  const timer = setTimeout(() => reject(new DormouseError("deadline_exceeded", "no answer")), attemptTimeoutMs);
  socket.on("error", reject);
  socket.on("message", (message) => {
    const packet = tryDecode(message);
    if (packet && isAnswer(packet)) resolve(packet);
  });
  try {
    socket.connect(server.port, server.address, () => socket.send(question));
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

async function askTcp(
  server: { address: string; port: number },
  question: Buffer,
  isAnswer: (packet: Packet) => boolean,
): Promise<Packet> {
  const socket = connect(server.port, server.address);
  socket.setTimeout(attemptTimeoutMs, () => socket.destroy(new DormouseError("deadline_exceeded", "no answer")));
  try {
    await once(socket, "connect");
    socket.end(withLength(question));
    let held = Buffer.alloc(0);
    for await (const data of socket) {
      held = Buffer.concat([held, data]);
      if (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) break;
    }
    const packet = held.length > 2 ? tryDecode(held.subarray(2)) : undefined;
    if (packet && isAnswer(packet)) return packet;
    throw new DormouseError("unavailable", "the answer cannot be read");
  } finally {
    socket.destroy();
  }
}

/** A message as it goes over TCP (RFC 1035 4.2.2). */
export function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** Undefined for what is no DNS message. */
export function tryDecode(message: Buffer): Packet | undefined {
  try {
    return decode(message);
  } catch {
    // What anyone can send is not worth more than being dropped.
    return undefined;
  }
}
