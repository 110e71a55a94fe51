import { DormouseError, sleep } from "@dormouse/base";
import { fromRpcError } from "@dormouse/contract/errors";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/websocket";
import { openWebSocket } from "#websocket";
import type { GuestClient } from "./connection.ts";
import type { OpenSocket } from "./websocket.ts";

/** What becomes of the connection under a stream. */
export type ConnectionState = "lost" | "back";

/** How {@link Channel.follow} follows. */
export interface FollowOptions {
  signal?: AbortSignal;
  /** How long a cut connection is tried again before the stream fails with `unavailable`; default 60 s. */
  reconnectMs?: number;
  onConnection?: (state: ConnectionState) => void;
}

interface Link {
  client: GuestClient;
  socket: OpenSocket;
}

const defaultReconnectMs = 60_000;
// Long enough for the next stream of the same program to find the socket open,
// short enough that a program which is done ends soon.
const idleMs = 1_000;

/**
 * One WebSocket to a machine's agent, shared by all streams of a client. It opens with
 * the first, closes when there has been none for a second, and opens anew after a cut.
 */
export class Channel {
  readonly #options: { url: string; apiKey?: string; timeoutMs: number };
  #link: Promise<Link> | undefined;
  #users = 0;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: { url: string; apiKey?: string; timeoutMs: number }) {
    this.#options = options;
  }

  /**
   * Runs one call over the socket.
   * @throws DormouseError `unavailable` when the connection is cut before the answer.
   */
  async call<T>(work: (client: GuestClient) => Promise<T>): Promise<T> {
    using _use = this.#use();
    const link = await this.#connect();
    try {
      assertOpen(link);
      return await work(link.client);
    } catch (error) {
      throw convert(link, error);
    }
  }

  /**
   * Follows an event stream and yields its events. After a cut connection `open` is
   * called again: it continues where the last event ended.
   */
  async *follow<E>(
    open: (client: GuestClient, signal: AbortSignal | undefined) => Promise<AsyncIterable<E>>,
    options: FollowOptions = {},
  ): AsyncGenerator<E, void, undefined> {
    using _use = this.#use();
    let lostMs: number | undefined;
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 2_000)) {
      let link: Link | undefined;
      try {
        link = await this.#connect();
        assertOpen(link);
        const events = await open(link.client, options.signal);
        if (lostMs !== undefined) options.onConnection?.("back");
        lostMs = undefined;
        delayMs = 50;
        yield* events;
        return;
      } catch (caught) {
        const error = link ? convert(link, caught) : DormouseError.from(caught, "unavailable");
        if (options.signal?.aborted) throw DormouseError.from(options.signal.reason, "cancelled");
        // A connection that never stood is a failure; only one that did is waited for.
        const isCut = error.code === "unavailable" && (link !== undefined || lostMs !== undefined);
        if (!isCut || this.#closed) throw error;
        if (lostMs === undefined) options.onConnection?.("lost");
        lostMs ??= performance.now();
        if (performance.now() - lostMs > (options.reconnectMs ?? defaultReconnectMs)) throw error;
      }
      await sleep(delayMs, options.signal).catch((reason: unknown) => {
        throw DormouseError.from(reason, "cancelled");
      });
    }
  }

  /** Closes the socket; what runs over it fails with `unavailable`. */
  close(): void {
    this.#closed = true;
    this.#disconnect();
  }

  #use(): Disposable {
    if (this.#closed) throw new DormouseError("failed_precondition", "this workspace's connection was closed");
    this.#users++;
    clearTimeout(this.#idleTimer);
    return {
      [Symbol.dispose]: () => {
        this.#users--;
        if (this.#users === 0) this.#idleTimer = setTimeout(() => this.#disconnect(), this.#closed ? 0 : idleMs);
      },
    };
  }

  #connect(): Promise<Link> {
    if (this.#link) return this.#link;
    const opened = this.#open();
    this.#link = opened;
    // Only if it is still this one: meanwhile another may have been opened.
    const forget = () => {
      if (this.#link === opened) this.#link = undefined;
    };
    opened.then(({ socket }) => socket.addEventListener("close", forget), forget);
    return opened;
  }

  async #open(): Promise<Link> {
    const { url, apiKey, timeoutMs } = this.#options;
    const socket = await openWebSocket(url, { apiKey, timeoutMs });
    return { socket, client: createORPCClient<GuestClient>(new RPCLink({ websocket: tolerant(socket) })) };
  }

  #disconnect(): void {
    clearTimeout(this.#idleTimer);
    const link = this.#link;
    this.#link = undefined;
    link?.then(
      ({ socket }) => socket.close(),
      () => {
        // It never stood; whoever waited for it has been told.
      },
    );
  }
}

const socketOpen = 1;

/**
 * The library throws from where nobody can catch it when a stream is ended over a socket that
 * is closed by then. What is sent too late is dropped instead: the close has ended every call.
 */
function tolerant(socket: OpenSocket): WebSocket {
  const view = {
    readyState: socketOpen,
    addEventListener: socket.addEventListener.bind(socket),
    removeEventListener: socket.removeEventListener.bind(socket),
    send(data: Parameters<OpenSocket["send"]>[0]) {
      if (socket.readyState === socketOpen) socket.send(data);
    },
  };
  return view as unknown as WebSocket;
}

function assertOpen({ socket }: Link): void {
  if (socket.readyState !== socketOpen) throw new Error("the socket is closing");
}

/** What failed because its socket is gone is `unavailable`, whatever the library calls it. */
function convert(link: Link, error: unknown): DormouseError {
  if (link.socket.readyState !== socketOpen) {
    return new DormouseError("unavailable", "the connection to the workspace was cut", { cause: error });
  }
  return fromRpcError(error);
}
