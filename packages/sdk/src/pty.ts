import { DormouseError } from "@dormouse/base";
import type { PtyEvent, PtyInfo } from "@dormouse/contract";
import type { Channel, ConnectionState } from "./channel.ts";
import type { GuestClient } from "./connection.ts";

/** How a terminal is followed. */
export interface FollowTerminalOptions {
  /** Receives what the terminal prints, the kept scrollback first. */
  onData?: (data: string) => void;
  /** Another client changed its size. */
  onResized?: (size: { cols: number; rows: number }) => void;
  onConnection?: (state: ConnectionState) => void;
  /** How long a cut connection is tried again; default 60 s. */
  reconnectMs?: number;
  /** Stops following. The terminal goes on. */
  signal?: AbortSignal;
}

/** A new terminal. */
export interface CreateTerminalOptions extends FollowTerminalOptions {
  cols: number;
  rows: number;
  /** Default: the user's login shell. */
  command?: readonly string[];
  /** Default: the workspace's folder. */
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  title?: string;
}

/** How a terminal's program ended. */
export interface TerminalExit {
  exitCode: number;
  signal: string | null;
}

/** A terminal in the machine. It lives until its program ends or it is killed, whoever is attached. */
export class Terminal {
  readonly id: string;
  readonly #channel: Channel;
  readonly #ended: Promise<TerminalExit>;

  constructor(channel: Channel, id: string, options: FollowTerminalOptions) {
    this.#channel = channel;
    this.id = id;
    this.#ended = follow(channel, id, options);
    this.#ended.catch(() => {
      // The same rejection reaches whoever calls wait().
    });
  }

  /** Resolves when its program has ended. */
  wait(): Promise<TerminalExit> {
    return this.#ended;
  }

  /** Types into it, in the order of the calls. */
  async sendInput(data: string): Promise<void> {
    await this.#channel.call((client) => client.pty.input({ id: this.id, data }));
  }

  async resize(size: { cols: number; rows: number }): Promise<void> {
    await this.#channel.call((client) => client.pty.resize({ id: this.id, ...size }));
  }

  /** Ends its program and removes it. */
  async kill(): Promise<void> {
    await this.#channel.call((client) => client.pty.kill({ id: this.id }));
  }
}

/** Terminals of a workspace. */
export class Terminals {
  readonly #guest: GuestClient;
  readonly #channel: Channel;

  constructor(guest: GuestClient, channel: Channel) {
    this.#guest = guest;
    this.#channel = channel;
  }

  /** Starts a program, by default the user's shell, in a new terminal and follows it. */
  async create(options: CreateTerminalOptions): Promise<Terminal> {
    const { cols, rows, command, cwd, env, user, title, signal } = options;
    const input = { cols, rows, command: command ? [...command] : undefined, cwd, env, user, title };
    const info = await this.#guest.pty.create(input, { signal });
    return new Terminal(this.#channel, info.id, options);
  }

  /** Follows a terminal that is there; its scrollback comes first. */
  attach(id: string, options: FollowTerminalOptions = {}): Terminal {
    return new Terminal(this.#channel, id, options);
  }

  async list(): Promise<PtyInfo[]> {
    return (await this.#guest.pty.list({})).ptys;
  }
}

async function follow(channel: Channel, id: string, options: FollowTerminalOptions): Promise<TerminalExit> {
  let offset = 0;
  const open = (client: GuestClient, signal: AbortSignal | undefined) => client.pty.attach({ id, offset }, { signal });
  for await (const event of channel.follow<PtyEvent>(open, options)) {
    if (event.type === "exit") return { exitCode: event.exitCode, signal: event.signal };
    if (event.type === "resized") {
      options.onResized?.({ cols: event.cols, rows: event.rows });
      continue;
    }
    offset = event.offset;
    options.onData?.(event.data);
  }
  throw new DormouseError("data_loss", `terminal ${id} ended without saying how`);
}
