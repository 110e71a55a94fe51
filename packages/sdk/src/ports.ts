import { DormouseError } from "@dormouse/base";
import type { ForwardedPort, ListeningPort, PortLink, SetPort, Workspace } from "@dormouse/contract";
import type { Channel } from "./channel.ts";
import type { Connection } from "./connection.ts";

/** What a watch of ports reports: first everything that listens, then each change. */
export interface PortChange {
  opened: ListeningPort[];
  closed: ListeningPort[];
}

/** Ports that programs of the workspace listen on, and who may open them. */
export class Ports {
  readonly #connection: Connection;
  readonly #channel: Channel;
  readonly #info: () => Workspace;

  constructor(connection: Connection, channel: Channel, info: () => Workspace) {
    this.#connection = connection;
    this.#channel = channel;
    this.#info = info;
  }

  /** What listens, what the workspace's definition names and what was set. Wakes nothing: of a sleeper nothing listens. */
  async list(): Promise<ForwardedPort[]> {
    return (await this.#connection.api.ports.list({ workspace: this.#info().id })).ports;
  }

  /**
   * The origin of a port, e.g. `http://3000--name.localhost:7070`. Who may open it is its visibility; a program sends its
   * API key or a link's token as `Authorization: Bearer …`.
   * @throws DormouseError `failed_precondition` when the platform has no domain for ports.
   */
  url(port: number): string {
    const { portUrl } = this.#info();
    if (portUrl === null) throw new DormouseError("failed_precondition", "this platform has no domain for ports");
    return portUrl.replace("{port}", String(port));
  }

  /**
   * Sets who may open a port, its label, its protocol, or whether it is forwarded at all; null goes back to what the
   * definition says.
   * @throws DormouseError `permission_denied` when the platform's policy lets no port be as visible.
   */
  set(port: number, setting: SetPort): Promise<ForwardedPort> {
    return this.#connection.api.ports.set({ workspace: this.#info().id, port, ...setting });
  }

  /** A link that opens the port for whoever has it; its address is in this answer and nowhere else. */
  createLink(port: number, options: { expiresInSeconds?: number } = {}): Promise<PortLink & { url: string }> {
    return this.#connection.api.ports.createLink({ workspace: this.#info().id, port, ...options });
  }

  /** Links to a port that have not expired. */
  async links(port: number): Promise<PortLink[]> {
    return (await this.#connection.api.ports.links({ workspace: this.#info().id, port })).links;
  }

  /** Ends a link, and what was opened with it. */
  async revokeLink(port: number, id: string): Promise<void> {
    await this.#connection.api.ports.revokeLink({ workspace: this.#info().id, port, id });
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
