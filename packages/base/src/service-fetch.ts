import { Readable } from "node:stream";
import { Agent, type Dispatcher, request as undiciRequest } from "undici";
import { DormouseError } from "./errors.ts";

/** Requests to another part of the platform. Disposing it cuts those that are on their way. */
export interface ServiceFetch extends AsyncDisposable {
  /**
   * As the Fetch API's, for calls whose bodies are small. The answer may take any time and streams; whoever wants a limit
   * brings a signal.
   * @throws DormouseError what the other side refused in the form of our errors, or `unavailable` naming it when the connection
   *   fails before there is an answer.
   */
  (request: Request, options: { signal: AbortSignal | undefined }): Promise<Response>;
}

const connectTimeoutMs = 5_000;
/** After this and ten seconds more (libuv's ten probes) a peer that vanished without a word is noticed. */
const silenceMs = 2_000;

/**
 * Makes a {@link ServiceFetch}. Each request has a connection of its own: on the network of a platform that costs next to
 * nothing, and none is ever sent into a connection that died while it was kept, which nobody would hear of for minutes.
 * @param service the other side, as whoever is told that it cannot be reached knows it; never its address.
 */
export function createServiceFetch(service: string): ServiceFetch {
  const dispatcher = new Agent({
    connect: { timeout: connectTimeoutMs, keepAlive: true, keepAliveInitialDelay: silenceMs },
    // A command may run for hours before the first byte of its answer.
    headersTimeout: 0,
    bodyTimeout: 0,
    pipelining: 0,
  });
  const send = (request: Request, { signal }: { signal: AbortSignal | undefined }) =>
    sendOver(dispatcher, request, signal).catch((cause: unknown) => {
      if (signal?.aborted || cause instanceof DormouseError) throw cause;
      throw new DormouseError("unavailable", `${service} cannot be reached now`, { cause });
    });
  return Object.assign(send, { [Symbol.asyncDispose]: () => dispatcher.destroy() });
}

/**
 * Node's own fetch follows a signal through objects that the garbage collector may take
 * while an answer still streams, and then aborts nothing; this holds on to it.
 */
async function sendOver(dispatcher: Agent, request: Request, signal: AbortSignal | undefined): Promise<Response> {
  const { statusCode, headers, body } = await undiciRequest(request.url, {
    method: request.method as Dispatcher.HttpMethod,
    headers: Object.fromEntries(request.headers),
    body: request.body === null ? null : Buffer.from(await request.arrayBuffer()),
    ...(signal && { signal }),
    dispatcher,
  });
  if (statusCode >= 400) {
    // Some refusals come in the form of the REST API, from whom never reached the one that was asked.
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
