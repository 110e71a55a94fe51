import { DormouseError } from "@dormouse/base";
import type { ListeningPort } from "@dormouse/contract";
import type { Channel } from "./channel.ts";
import type { GuestClient } from "./connection.ts";

/** What a watch of ports reports: first everything that listens, then each change. */
export interface PortChange {
  opened: ListeningPort[];
  closed: ListeningPort[];
}

/** Ports that programs of the workspace listen on. */
export class Ports {
  readonly #guest: GuestClient;
  readonly #channel: Channel;

  constructor(guest: GuestClient, channel: Channel) {
    this.#guest = guest;
    this.#channel = channel;
  }

  async list(): Promise<ListeningPort[]> {
    return (await this.#guest.ports.list({})).ports;
  }

  /** Follows what listens, until `signal` aborts. */
  watch(options: { signal?: AbortSignal } = {}): AsyncGenerator<PortChange, void, undefined> {
    return this.#channel.follow<PortChange>((client, signal) => client.ports.watch({}, { signal }), options);
  }

  /**
   * Resolves when something listens on `port`.
   * @throws DormouseError `deadline_exceeded` naming the port after `timeoutMs` (default 30 s).
   */
  async waitFor(port: number, options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<ListeningPort> {
    const timeoutMs = options.timeoutMs ?? 30_000;
    const expiry = AbortSignal.timeout(timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, expiry]) : expiry;
    try {
      for await (const change of this.watch({ signal })) {
        const found = change.opened.find((opened) => opened.port === port);
        if (found) return found;
      }
    } catch (error) {
      if (!expiry.aborted) throw error;
    }
    throw new DormouseError("deadline_exceeded", `nothing listened on port ${port} within ${timeoutMs} ms`);
  }
}
