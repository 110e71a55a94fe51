import { Readable } from "node:stream";
import { DormouseError } from "@dormouse/base";
import { fromRpcError, type GuestContract, type HostContract } from "@dormouse/contract";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import type { ContractRouterClient } from "@orpc/contract";
import { Agent, type Dispatcher, request as undiciRequest } from "undici";

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

const connectTimeoutMs = 5_000;
const keepAliveMs = 60_000;

/**
 * Connects to a host daemon. Nothing is sent before the first call; a host that is
 * away makes calls fail with `unavailable`, and is found again by the next one.
 */
export function connectHost(options: { url: string; token: string }): HostConnection {
  // A command may run for hours before the first byte of its answer, so only connecting has a limit here;
  // callers bring signals for the rest.
  const dispatcher = new Agent({
    connect: { timeout: connectTimeoutMs },
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: keepAliveMs,
  });
  const link = (url: string) =>
    new RPCLink({
      url,
      headers: { authorization: `Bearer ${options.token}` },
      fetch: (request, _init, { signal }) => send(request, { signal, dispatcher }),
    });
  return {
    ...options,
    calls: createORPCClient(link(`${options.url}/rpc`)),
    guest: (workspaceId) => createORPCClient(link(`${options.url}/machines/${workspaceId}/guest/rpc`)),
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

/**
 * Node's own fetch follows a signal through objects that the garbage collector may take
 * while an answer still streams, and then aborts nothing; this holds on to it.
 */
async function send(
  request: Request,
  options: { signal: AbortSignal | undefined; dispatcher: Agent },
): Promise<Response> {
  const { statusCode, headers, body } = await undiciRequest(request.url, {
    method: request.method as Dispatcher.HttpMethod,
    headers: Object.fromEntries(request.headers),
    // Calls are small; whole files never come this way.
    body: request.body === null ? null : Buffer.from(await request.arrayBuffer()),
    ...options,
  });
  if (statusCode >= 400) {
    // The host refuses in the form of the REST API what never reached an agent.
    const text = await body.text();
    const refusal = DormouseError.fromJSON(parseJson(text));
    if (refusal) throw refusal;
    return new Response(text, { status: statusCode, headers: { "content-type": String(headers["content-type"]) } });
  }
  const flat = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)]);
  return new Response(Readable.toWeb(body) as ReadableStream, { status: statusCode, headers: flat });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not ours, and then nothing that could be read from it.
    return undefined;
  }
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
