import { createSocket, type RemoteInfo } from "node:dgram";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { DormouseError, type Logger } from "@dormouse/base";
import {
  AUTHENTIC_DATA,
  encode,
  type Packet,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import { normalName } from "../policy/rule.ts";
import { tryDecode, withLength } from "./dns-client.ts";
import type { Resolution } from "./names.ts";

const maxQuestions = 1_024;
const maxConnections = 256;
const connectionTimeoutMs = 10_000;
const plainUdpBytes = 512;
const maxUdpBytes = 1_232;
const rcodes: Record<string, number> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };
/** Extended errors (RFC 8914): so a person sees why, with a tool that shows it. */
const extendedErrorOption = 15;
const prohibited = 18;

/** Answers machines' questions as their policies have it. */
export interface DnsServer extends AsyncDisposable {
  /** For UDP and TCP, on all addresses; the host's rules let only guests in. */
  readonly port: number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Answers a question of whoever has an address; undefined: nobody is known there. */
export type Resolve = (from: string, name: string) => Promise<Resolution | undefined>;

/** Starts the server. Questions for other than IPv4 addresses of allowed names are answered with nothing, and asked of nobody. */
export async function startDnsServer(resolve: Resolve, logger: Logger): Promise<DnsServer> {
  const connections = new Set<Socket>();
  const server = createServer((client) => serveStream(client, connections, resolve));
  server.maxConnections = maxConnections;
  server.on("error", (error) => logger.warn("the policy's resolver failed over TCP", { error }));
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const datagrams = createSocket("udp4");
  datagrams.on("error", (error) => logger.warn("the policy's resolver failed over UDP", { error }));
  let pending = 0;
  const answerDatagram = async (message: Buffer, from: RemoteInfo) => {
    if (pending >= maxQuestions) return;
    pending++;
    try {
      const answer = await answerTo(message, from.address, resolve, "udp");
      if (answer) datagrams.send(answer, from.port, from.address, () => {});
    } finally {
      pending--;
    }
  };
  datagrams.on("message", (message, from) => {
    answerDatagram(message, from).catch((error: unknown) => logger.warn("a question was not answered", { error }));
  });
  try {
    datagrams.bind(port, "0.0.0.0");
    await once(datagrams, "listening");
  } catch (error) {
    server.close();
    throw error;
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const connection of connections) connection.destroy();
      await Promise.all([
        new Promise<void>((done) => datagrams.close(done)),
        new Promise((done) => server.close(done)),
      ]);
    },
  };
}

/** One question after the other, as clients of TCP ask. */
function serveStream(client: Socket, connections: Set<Socket>, resolve: Resolve): void {
  connections.add(client);
  client.on("close", () => connections.delete(client));
  client.on("error", () => client.destroy());
  client.setTimeout(connectionTimeoutMs, () => client.destroy());
  let held = Buffer.alloc(0);
  let answering = Promise.resolve();
  client.on("data", (data) => {
    held = Buffer.concat([held, data]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const end = 2 + held.readUInt16BE(0);
      const message = held.subarray(2, end);
      held = held.subarray(end);
      answering = answering
        .then(async () => {
          const answer = await answerTo(message, client.remoteAddress ?? "", resolve, "tcp");
          if (answer) client.write(withLength(answer));
          else client.destroy();
        })
        .catch(() => void client.destroy());
    }
  });
}

/** Undefined when there is nothing to answer. Exported for tests. */
export async function answerTo(
  message: Buffer,
  from: string,
  resolve: Resolve,
  transport: "udp" | "tcp",
): Promise<Buffer | undefined> {
  const query = tryDecode(message);
  const [question, ...more] = query?.questions ?? [];
  if (query?.type !== "query" || !question) return undefined;
  const respond = (rcode: string, answers: Packet["answers"] = [], reason?: string) => {
    const response = respondTo(query, rcode, answers, reason);
    if (transport === "tcp") return response;
    const asked = query.additionals?.find((record) => record.type === "OPT");
    const size = asked ? Math.min(maxUdpBytes, Math.max(plainUdpBytes, asked.udpPayloadSize)) : plainUdpBytes;
    return response.length <= size ? response : respondTo(query, rcode, [], undefined, TRUNCATED_RESPONSE);
  };
  if ((query as { opcode?: string }).opcode !== "QUERY") return respond("NOTIMP");
  if (more.length > 0) return respond("FORMERR");
  const name = normalName(question.name);
  if (name === undefined || (question.class ?? "IN") !== "IN") return respond("REFUSED", [], "it is no host name");
  try {
    const resolution = await resolve(from, name);
    if (!resolution) return respond("REFUSED", [], "there is no policy");
    if (resolution.kind === "refused") return respond("REFUSED", [], resolution.reason);
    // The name exists, or not; but nothing beside addresses is told of it.
    if (question.type !== "A") return respond(resolution.rcode);
    // In the letters that were asked for, which some clients compare.
    const records = resolution.records.map((record) =>
      record.name.toLowerCase() === name ? { ...record, name: question.name } : record,
    );
    return respond(resolution.rcode, records);
  } catch (error) {
    return respond("SERVFAIL", [], DormouseError.from(error).message);
  }
}

function respondTo(query: Packet, rcode: string, answers: Packet["answers"] = [], reason?: string, flags = 0): Buffer {
  const hasOptions = query.additionals?.some((record) => record.type === "OPT") ?? false;
  const why = Buffer.concat([Buffer.from([0, prohibited]), Buffer.from(reason ?? "")]);
  const options = reason === undefined ? [] : [{ code: extendedErrorOption, data: why }];
  const packet = {
    type: "response",
    id: query.id,
    flags:
      ((query.flags ?? 0) & RECURSION_DESIRED & ~AUTHENTIC_DATA) | RECURSION_AVAILABLE | flags | (rcodes[rcode] ?? 2),
    questions: query.questions?.slice(0, 1),
    answers,
    additionals: hasOptions
      ? [
          {
            type: "OPT",
            name: ".",
            udpPayloadSize: maxUdpBytes,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options,
          },
        ]
      : [],
  };
  return encode(packet as Packet);
}
