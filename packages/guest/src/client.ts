import { DormouseError } from "@dormouse/base";
import type { GuestContract } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import { RPCLink as ChannelLink } from "@orpc/client/websocket";
import type { ContractRouterClient } from "@orpc/contract";
import { WebSocket } from "ws";

/** Every call of the guest contract. Errors are oRPC's; `fromRpcError` of the contract makes ours of them. */
export type GuestClient = ContractRouterClient<GuestContract>;

/** Where an agent is and what it takes. */
export interface GuestAddress {
  /** `http://<slot address>:7000`, without a slash at its end. */
  baseUrl: string;
  token: string;
  /** Ends every call made with the client. */
  signal?: AbortSignal;
  /** Makes the requests; default Node's own, whose connections are shared by address, whoever answers there now. */
  fetch?: (request: Request) => Promise<Response>;
}

/** A client that makes one HTTP request per call; streams are server-sent events. */
export function createGuestClient({ baseUrl, token, signal, fetch = globalThis.fetch }: GuestAddress): GuestClient {
  const link = new RPCLink({
    url: `${baseUrl}/rpc`,
    headers: { authorization: `Bearer ${token}` },
    fetch: (request) => fetch(withSignal(request, signal)),
  });
  return createORPCClient(link);
}

function withSignal(request: Request, signal: AbortSignal | undefined): Request {
  return signal ? new Request(request, { signal: AbortSignal.any([request.signal, signal]) }) : request;
}

/** A client over one WebSocket, for many calls and streams at once. */
export interface GuestChannel extends Disposable {
  client: GuestClient;
  /** Resolves when the connection has ended, for whatever reason. */
  closed: Promise<void>;
}

/**
 * Connects a channel.
 * @throws DormouseError `unauthenticated` when the token is refused, `unavailable` when
 *   the agent cannot be reached within `timeoutMs` (default 10 s).
 */
export async function connectGuestChannel(address: GuestAddress & { timeoutMs?: number }): Promise<GuestChannel> {
  const { baseUrl, token, signal } = address;
  const webSocket = new WebSocket(`${baseUrl.replace(/^http/, "ws")}/channel`, {
    headers: { authorization: `Bearer ${token}` },
    handshakeTimeout: address.timeoutMs ?? 10_000,
    perMessageDeflate: false,
  });
  const closed = new Promise<void>((resolve) => webSocket.once("close", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    webSocket.once("open", resolve);
    webSocket.once("error", (cause) => {
      const isRefused = cause.message.includes("401");
      const message = isRefused ? "the agent refused the token" : "the agent cannot be reached";
      reject(new DormouseError(isRefused ? "unauthenticated" : "unavailable", message, { cause }));
    });
  });
  // A broken connection is told by `closed`, and by every call that was under way.
  webSocket.on("error", () => {});
  const end = () => webSocket.terminate();
  if (signal?.aborted) end();
  signal?.addEventListener("abort", end, { once: true });
  void closed.then(() => signal?.removeEventListener("abort", end));
  const link = new ChannelLink({ websocket: webSocket as unknown as globalThis.WebSocket });
  return { client: createORPCClient(link), closed, [Symbol.dispose]: end };
}
