import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { createSpawner, encodeFrame, frame, type Spawner, spawnerPort } from "@dormouse/guest";

/** The agent's port in every machine. */
export const agentPort = 7000;

const connectTimeoutMs = 10_000;
/** Shorter than the agent keeps idle connections, so that a kept one is never closed under a request. */
const idleConnectionMs = 60_000;

/** The ways into one machine. Another machine may have the same address tomorrow: nothing of them is shared. */
export interface GuestConnections {
  readonly address: string;
  /** The agent's port. */
  readonly port: number;
  /** Kept connections to the agent. */
  readonly connections: Agent;
  /** Open WebSockets and streams into it. A network that is taken away says nothing: they are ended with the machine. */
  readonly channels: Set<Socket>;
  /** The machine's process starter, without its agent in between. */
  readonly spawner: Spawner;
  /** Ends them all. */
  close(): void;
}

/** Where the agent of one machine listens, and the token it takes. */
export interface GuestAddress extends GuestConnections {
  token: string;
}

/** Opens nothing yet. `token` is what the machine takes at the time of each new connection to its process starter. */
export function openConnections(address: string, token: () => string): GuestConnections {
  const connections = new Agent({ keepAlive: true, timeout: idleConnectionMs });
  const channels = new Set<Socket>();
  const spawner = createSpawner(() => {
    const socket = connect({ host: address, port: spawnerPort, noDelay: true });
    channels.add(socket);
    socket.once("close", () => channels.delete(socket));
    endUnlessConnected(socket);
    socket.write(encodeFrame(frame.token, Buffer.from(token())));
    return socket;
  });
  return {
    address,
    port: agentPort,
    connections,
    channels,
    spawner,
    close() {
      connections.destroy();
      spawner.close();
      for (const channel of channels) channel.destroy();
    },
  };
}

/** A machine that stands still takes no connection: whoever waits for one hears of it in the end. */
export function endUnlessConnected(socket: Socket): void {
  if (!socket.connecting) return;
  const timer = setTimeout(() => {
    if (socket.connecting) socket.destroy(new Error(`no connection after ${connectTimeoutMs} ms`));
  }, connectTimeoutMs);
  socket.once("connect", () => clearTimeout(timer)).once("close", () => clearTimeout(timer));
}
