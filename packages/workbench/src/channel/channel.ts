import { DormouseError, sleep, withTimeout } from "@dormouse/base";
import { fromRpcError, type GuestContract } from "@dormouse/contract";
import { type ClientLink, createORPCClient, mapEventIterator } from "@orpc/client";
import type { ContractRouterClient } from "@orpc/contract";
import { backoffMs } from "./backoff.ts";
import { policyOf } from "./calls.ts";
import { openSession, type Session } from "./session.ts";

/** The calls of the machine's agent. */
export type Guest = ContractRouterClient<GuestContract>;

/**
 * connecting: not connected yet. connected. lost: was connected and tries again.
 * closed: for good.
 */
export type ChannelState = "connecting" | "connected" | "lost" | "closed";

/** How a {@link Channel} is opened. */
export interface ChannelOptions {
  /** `ws:` or `wss:` address of the machine's agent. */
  url: string;
  /** The machine can be reached from when this resolves on; until then nothing is attempted, and calls wait for it. */
  opens?: Promise<unknown>;
  /**
   * Asked before every attempt but the first; the attempt waits until it resolves. Here a
   * workspace that sleeps is left asleep. A rejection only delays the next attempt.
   */
  beforeRetry?: (signal: AbortSignal) => Promise<void>;
}

/** The one connection of a page to its machine, made again whenever it is lost. */
export interface Channel {
  /** Calls wait while the connection is lost, at most {@link connectionWaitMs}. Errors are DormouseErrors. */
  readonly guest: Guest;
  readonly state: ChannelState;
  /** Tells each change of {@link state}; returns a function that ends this. */
  onState(listener: (state: ChannelState) => void): () => void;
  /** Resolves with the present connection, or the next one. */
  whenConnected(signal: AbortSignal): Promise<Session>;
  /** Tries at once instead of after the pause; a connection that stands is tested. */
  nudge(): void;
  close(): void;
}

/** A call waits this long for a lost connection before it fails with `unavailable`. */
const connectionWaitMs = 60_000;
const connectTimeoutMs = 45_000;

/** Opens the channel and keeps it open until `close`. Returns at once. */
export function openChannel(options: ChannelOptions): Channel {
  const life = new AbortController();
  const listeners = new Set<(state: ChannelState) => void>();
  let state: ChannelState = "connecting";
  let session: Session | undefined;
  let arrival = Promise.withResolvers<Session>();
  let pause: AbortController | undefined;

  const setState = (next: ChannelState) => {
    if (state === next) return;
    state = next;
    for (const listener of [...listeners]) listener(next);
  };

  const opens = Promise.resolve(options.opens);
  const keepOpen = async () => {
    await opens;
    for (let attempt = 0; !life.signal.aborted; attempt++) {
      if (attempt > 0) {
        pause = new AbortController();
        const signal = AbortSignal.any([life.signal, pause.signal]);
        // A nudge ends the pause early; that is what the rejection means here.
        await sleep(backoffMs(attempt), signal).catch(() => undefined);
        pause = undefined;
        await options.beforeRetry?.(life.signal).catch(() => undefined);
        if (life.signal.aborted) return;
      }
      const lost = Promise.withResolvers<void>();
      const onLost = () => {
        session = undefined;
        arrival = Promise.withResolvers();
        if (!life.signal.aborted) setState("lost");
        lost.resolve();
      };
      const opened = await openSession(options.url, { timeoutMs: connectTimeoutMs, signal: life.signal, onLost }).catch(
        // Why a browser's WebSocket failed is hidden from the page; `beforeRetry` finds out.
        () => undefined,
      );
      if (!opened) continue;
      session = opened;
      arrival.resolve(opened);
      setState("connected");
      await lost.promise;
      attempt = 0;
    }
  };
  // Who gave `opens` knows why it never will.
  void keepOpen().catch(() => {});

  const whenConnected = (signal: AbortSignal): Promise<Session> => {
    if (session) return Promise.resolve(session);
    const ended = AbortSignal.any([signal, life.signal]);
    return new Promise((resolve, reject) => {
      const onAbort = () =>
        reject(new DormouseError("cancelled", "the wait for the workspace's connection was cancelled"));
      if (ended.aborted) return onAbort();
      ended.addEventListener("abort", onAbort, { once: true });
      void arrival.promise.then((arrived) => {
        ended.removeEventListener("abort", onAbort);
        resolve(arrived);
      });
    });
  };

  const link: ClientLink<Record<never, never>> = {
    async call(path, input, callOptions) {
      const policy = policyOf(path);
      // How long that takes is no measure of how the call does.
      const { signal: caller } = callOptions;
      await unlessAborted(opens, caller ? AbortSignal.any([caller, life.signal]) : life.signal);
      const attempt = async (signal: AbortSignal | undefined): Promise<unknown> => {
        for (;;) {
          const current =
            session ??
            (await withTimeout("waiting for the workspace's connection", connectionWaitMs, whenConnected, signal).catch(
              (caught) => {
                throw signal?.aborted
                  ? caught
                  : new DormouseError("unavailable", "the workspace cannot be reached at the moment", {
                      cause: caught,
                    });
              },
            ));
          const toError = (caught: unknown) =>
            signal?.aborted || !current.isLost() ? fromRpcError(caught) : lostDuring(path, caught);
          try {
            const answer = await current.link.call(path, input, { ...callOptions, signal });
            if (!isStream(answer)) return answer;
            return mapEventIterator(answer, {
              value: async (event) => event,
              error: async (caught) => toError(caught),
            });
          } catch (caught) {
            if (policy.repeatable && !signal?.aborted && current.isLost()) continue;
            throw toError(caught);
          }
        }
      };
      if (policy.timeoutMs === undefined) return attempt(callOptions.signal);
      return withTimeout(path.join("."), policy.timeoutMs, attempt, callOptions.signal);
    },
  };

  return {
    guest: createORPCClient(link),
    get state() {
      return state;
    },
    onState(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    whenConnected,
    nudge() {
      if (session) session.test();
      else pause?.abort();
    },
    close() {
      life.abort(new DormouseError("cancelled", "the workspace's connection was closed"));
      session?.close();
      setState("closed");
      listeners.clear();
    },
  };
}

/** Resolves or rejects as `promise` does, and rejects as soon as `signal` aborts. */
async function unlessAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function lostDuring(path: readonly string[], cause: unknown): DormouseError {
  const message = `the connection was lost during ${path.join(".")}; look whether it was done before trying again`;
  return new DormouseError("unavailable", message, { cause });
}

function isStream(answer: unknown): answer is AsyncIteratorObject<unknown> {
  return typeof answer === "object" && answer !== null && Symbol.asyncIterator in answer;
}
