import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import { DormouseError } from "@dormouse/base";
import { refusalOf } from "../proxy.ts";
import type { PortAccess } from "./port-access.ts";

const connectTimeoutMs = 15_000;
const keepAliveMs = 15_000;

/**
 * Connects to what listens on a port of a machine, through its host and its agent.
 * @throws DormouseError `unavailable` when nothing listens there (`details.port`) or the machine is away (`details.away`).
 */
export async function openTunnel(access: PortAccess, port: number): Promise<Socket> {
  const { hostUrl, hostToken, workspaceId } = access;
  const outgoing = httpRequest(`${hostUrl}/machines/${workspaceId}/guest/port/${port}`, {
    headers: { authorization: `Bearer ${hostToken}`, connection: "Upgrade", upgrade: "tcp" },
    agent: false,
  });
  const timer = setTimeout(() => outgoing.destroy(new Error("connecting took too long")), connectTimeoutMs);
  try {
    return await new Promise<Socket>((resolve, reject) => {
      outgoing.once("upgrade", (_answer: IncomingMessage, socket: Socket, head: Buffer) => {
        if (head.length > 0) socket.unshift(head);
        socket.setNoDelay(true);
        socket.setKeepAlive(true, keepAliveMs);
        resolve(socket);
      });
      outgoing.once("response", (answer) => {
        refusalOf(answer, { name: `port ${port}` }).then(reject, reject);
      });
      outgoing.once("error", (cause) =>
        reject(new DormouseError("unavailable", "the workspace's machine cannot be reached now", { cause })),
      );
      outgoing.end();
    });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * TLS over a tunnel. Whose certificate it is says nothing: the way to the server leads through the machine, and what listens
 * there has made its own.
 */
export async function secure(tunnel: Socket, port: number): Promise<TLSSocket> {
  const socket = tlsConnect({
    socket: tunnel,
    servername: "localhost",
    rejectUnauthorized: false,
    ALPNProtocols: ["h2", "http/1.1"],
  });
  const timer = setTimeout(() => socket.destroy(new Error("no TLS handshake")), connectTimeoutMs);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the connection was closed")));
    });
    return socket;
  } catch (cause) {
    tunnel.destroy();
    throw new DormouseError(
      "unavailable",
      `what listens on port ${port} does not speak TLS: its protocol is not https`,
      {
        cause,
        details: { port },
      },
    );
  } finally {
    clearTimeout(timer);
  }
}
