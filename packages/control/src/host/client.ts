import { createServiceFetch } from "@dormouse/base/service-fetch";
import { fromRpcError, type GuestContract, type HostContract } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import type { ContractRouterClient } from "@orpc/contract";

/** The typed calls of a host daemon. */
export type HostClient = ContractRouterClient<HostContract>;
/** The typed calls of the agent in a machine. */
export type GuestClient = ContractRouterClient<GuestContract>;

/** A host, and the machines on it. Disposing it closes its connections. */
export interface HostConnection extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  readonly calls: HostClient;
  /** The agent of a workspace's machine, through the host. Errors are those of the agent, or `unavailable`. */
  guest(workspaceId: string): GuestClient;
}

/**
 * Connects to a host daemon. Nothing is sent before the first call; a host that is
 * away makes calls fail with `unavailable`, and is found again by the next one.
 */
export function connectHost(options: { url: string; token: string }): HostConnection {
  const send = createServiceFetch("the workspace's host");
  const link = (url: string) =>
    new RPCLink({
      url,
      headers: { authorization: `Bearer ${options.token}` },
      fetch: (request, _init, { signal }) => send(request, { signal }),
    });
  return {
    ...options,
    calls: createORPCClient(link(`${options.url}/rpc`)),
    guest: (workspaceId) => createORPCClient(link(`${options.url}/machines/${workspaceId}/guest/rpc`)),
    [Symbol.asyncDispose]: () => send[Symbol.asyncDispose](),
  };
}

/** Runs a call of a host or an agent; whatever goes wrong is a DormouseError. */
export async function remote<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw fromRpcError(error);
  }
}

/** Follows something long that a host does: passes on how far it is, and gives what comes of it. */
export async function follow<T, R>(call: Promise<AsyncIterator<T, R>>, onProgress: (progress: T) => void): Promise<R> {
  const stream = await remote(call);
  for (;;) {
    const next = await remote(stream.next());
    if (next.done) return next.value;
    onProgress(next.value);
  }
}
