import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Logger } from "@dormouse/base";

const answerTimeoutMs = 10_000;
/** More questions than this at a time are dropped; resolvers ask again. */
const maxQuestions = 1_024;
const maxConnections = 256;

/** Passes DNS questions on to a resolver that only this host's own processes reach. */
export interface DnsRelay extends AsyncDisposable {
  /** The port for UDP and TCP, on all addresses; the host's rules let only guests and the host itself in. */
  readonly port: number;
}

/**
 * Starts a relay for hosts whose only resolver is a stub on the loopback address. Messages pass unread (RFC 1035: one
 * datagram each over UDP; a byte stream over TCP).
 * @param target address and port of the resolver.
 */
export async function startDnsRelay(target: { address: string; port: number }, logger: Logger): Promise<DnsRelay> {
  const connections = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => relayStream(client, target, connections));
  server.maxConnections = maxConnections;
  server.on("error", (error) => logger.warn("the DNS relay's TCP server failed", { error }));
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;

  const questions = new Set<UdpSocket>();
  const close = (question: UdpSocket) => {
    if (questions.delete(question)) question.close();
  };
  const datagrams = createSocket("udp4");
  datagrams.on("error", (error) => logger.warn("the DNS relay's UDP socket failed", { error }));
  datagrams.on("message", (message, from) => {
    if (questions.size >= maxQuestions) return;
    // A socket for each question: its random port is half of what protects an answer from being forged.
    const question = createSocket("udp4");
    questions.add(question);
    const timer = setTimeout(() => close(question), answerTimeoutMs);
    question.on("close", () => clearTimeout(timer));
    question.on("error", () => close(question));
    question.on("message", (answer) => {
      datagrams.send(answer, from.port, from.address);
      close(question);
    });
    question.connect(target.port, target.address, () => questions.has(question) && question.send(message));
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
      for (const question of questions) close(question);
      for (const connection of connections) connection.destroy();
      await Promise.all([
        new Promise<void>((resolve) => datagrams.close(resolve)),
        new Promise((resolve) => server.close(resolve)),
      ]);
    },
  };
}

function relayStream(client: Socket, target: { address: string; port: number }, connections: Set<Socket>): void {
  const upstream = connect({ host: target.address, port: target.port, allowHalfOpen: true });
  for (const [socket, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    connections.add(socket);
    socket.setTimeout(answerTimeoutMs, () => socket.destroy());
    socket.on("error", () => other.destroy());
    socket.on("close", () => {
      connections.delete(socket);
      other.destroySoon();
    });
    socket.pipe(other);
  }
}
