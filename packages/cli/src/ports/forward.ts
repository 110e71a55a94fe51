import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/sdk";

/** A port of this machine behind which one of a workspace's is. */
export interface Forwarding extends AsyncDisposable {
  localPort: number;
}

/** Of `L:R`, or `R` alone: which port here leads to which there. */
export interface PortPair {
  local: number;
  remote: number;
}

/** Waking a workspace takes a while. */
const openTimeoutMs = 130_000;
const refusalBytes = 64 * 1024;

/**
 * Listens on a port of this machine's loopback, 0 for a free one, and passes every connection's bytes on to a port of the
 * workspace. Either side may end its direction alone. A connection that finds nothing there is closed, and told.
 * @throws DormouseError `unavailable` naming the local port when it is taken.
 */
export async function forwardPort(options: {
  workspace: Workspace;
  pair: PortPair;
  /** Hears why a connection was closed without having been made. */
  onRefusal: (error: DormouseError) => void;
}): Promise<Forwarding> {
  const { workspace, pair, onRefusal } = options;
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (local) => {
    open.add(local);
    local.once("close", () => open.delete(local));
    local.on("error", () => local.destroy());
    openTunnel(workspace, pair.remote).then(
      (tunnel) => join(local, tunnel),
      (error: unknown) => {
        onRefusal(DormouseError.from(error));
        local.resetAndDestroy();
      },
    );
  });
  await listen(server, pair.local);
  return {
    localPort: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/**
 * Reads `L:R`, or `R` for the same port here.
 * @throws DormouseError `invalid_argument`.
 */
export function parsePortPair(text: string): PortPair {
  const [, first, second] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text) ?? [];
  const remote = Number(second ?? first);
  const local = Number(first);
  if (first === undefined || remote < 1 || remote > 65_535 || local > 65_535) {
    throw new DormouseError(
      "invalid_argument",
      `${JSON.stringify(text)} must be LOCAL:REMOTE or a port from 1 to 65535, such as 5433:5432; local 0 takes a free one`,
      { details: { usage: true } },
    );
  }
  return { local, remote };
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (cause) {
    const { code } = cause as { code?: string };
    const why = code === "EADDRINUSE" ? "is taken" : code === "EACCES" ? "needs root" : `cannot be used (${code})`;
    throw new DormouseError("unavailable", `port ${port} of this machine ${why}; choose another: LOCAL:REMOTE`, {
      cause,
    });
  }
}

async function openTunnel(workspace: Workspace, port: number): Promise<Socket> {
  const { url, headers } = workspace.connection.tunnel(workspace.id, port);
  const request = url.startsWith("https:") ? httpsRequest : httpRequest;
  const outgoing = request(url, { headers, agent: false });
  const timer = setTimeout(() => outgoing.destroy(new Error("it took too long")), openTimeoutMs);
  try {
    return await new Promise<Socket>((resolve, reject) => {
      outgoing.once("upgrade", (_answer: IncomingMessage, socket: Socket, head: Buffer) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      outgoing.once("response", (answer) => refusalOf(answer).then(reject, reject));
      outgoing.once("error", (cause) =>
        reject(
          new DormouseError("unavailable", `no connection to ${new URL(url).origin}: ${cause.message}`, { cause }),
        ),
      );
      outgoing.end();
    });
  } finally {
    clearTimeout(timer);
  }
}

async function refusalOf(answer: IncomingMessage): Promise<DormouseError> {
  let text = "";
  for await (const chunk of answer) if (text.length < refusalBytes) text += String(chunk);
  try {
    const error = DormouseError.fromJSON(JSON.parse(text));
    if (error) return error;
  } catch {
    // Not one of the platform's refusals; the status says enough.
  }
  return new DormouseError("unavailable", `the platform refused the connection with status ${answer.statusCode}`);
}

function join(local: Socket, tunnel: Socket): void {
  for (const [socket, other] of [
    [local, tunnel],
    [tunnel, local],
  ] as const) {
    socket.setNoDelay(true);
    socket.on("error", () => other.resetAndDestroy());
    socket.once("close", () => {
      if (!other.writableEnded) other.resetAndDestroy();
    });
  }
  if (local.destroyed) return void tunnel.destroy();
  local.pipe(tunnel);
  tunnel.pipe(local);
}
