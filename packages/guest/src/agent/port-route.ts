import { connect, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { DormouseError, httpStatusOf } from "@dormouse/base";

/** Protocol token of the upgrade; the same that Docker's API uses for bytes in both directions. */
export const portUpgrade = "tcp";

/** A loopback connection is there at once, or its server's queue is full. */
const connectTimeoutMs = 10_000;

/** The port that `/port/N` names; undefined for every other path. */
export function portOf(path: string): number | undefined {
  const text = /^\/port\/([1-9]\d{0,4})$/.exec(path)?.[1];
  return text !== undefined && Number(text) <= 65_535 ? Number(text) : undefined;
}

/**
 * Answers an upgrade with the bytes of a program of the machine that listens on `port`, on IPv4's or IPv6's loopback. Either
 * side may end its direction alone, as TCP lets it. Nothing is held beyond the sockets' buffers.
 */
export async function joinPort(port: number, socket: Duplex, head: Buffer): Promise<void> {
  let gone = false;
  socket.once("close", () => {
    gone = true;
  });
  let server: Socket;
  try {
    server = await connectLoopback(port);
  } catch (error) {
    const { code, message, details } = DormouseError.from(error);
    const body = JSON.stringify({ code, message, details });
    const lines = [
      `HTTP/1.1 ${httpStatusOf(code)} ${code}`,
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(body)}`,
      "connection: close",
    ];
    socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
    return;
  }
  if (gone) return void server.destroy();
  // An end is passed on by `pipe`; one that was cut cuts the other, which could not tell it from an end otherwise.
  const cut = () => {
    server.resetAndDestroy();
    resetAndDestroy(socket);
  };
  for (const side of [socket, server]) side.on("error", cut);
  socket.once("close", () => server.destroy());
  server.once("close", () => {
    if (!socket.writableEnded) resetAndDestroy(socket);
  });
  server.setNoDelay(true);
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${portUpgrade}\r\n\r\n`);
  if (head.length > 0) server.write(head);
  server.pipe(socket);
  socket.pipe(server);
}

function resetAndDestroy(socket: Duplex): void {
  if (socket instanceof Socket) socket.resetAndDestroy();
  else socket.destroy();
}

async function connectLoopback(port: number): Promise<Socket> {
  let cause: unknown;
  for (const host of ["127.0.0.1", "::1"]) {
    try {
      return await connectTo(host, port);
    } catch (error) {
      cause ??= error;
    }
  }
  throw new DormouseError("unavailable", `nothing listens on port ${port} in the workspace`, {
    cause,
    details: { port },
  });
}

function connectTo(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    const timer = setTimeout(() => socket.destroy(new Error("no connection")), connectTimeoutMs);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
  });
}
