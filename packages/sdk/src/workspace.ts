import { DormouseError, type ErrorCode, sleep } from "@dormouse/base";
import type {
  CreateWorkspace,
  ExecResult,
  ForkWorkspace,
  RebuildWorkspace,
  Snapshot,
  Template,
  UnpushedWork,
  WorkspaceEvent,
  Workspace as WorkspaceInfo,
} from "@dormouse/contract";
import { fromRpcError } from "@dormouse/contract/errors";
import type { Channel } from "./channel.ts";
import { Connection, type ConnectionOptions, type GuestClient } from "./connection.ts";
import { createWatched, type WatchOptions, watchUntilRunning } from "./create.ts";
import { Egress } from "./egress.ts";
import { type Command, type ExecOptions, execute, start } from "./exec.ts";
import { Files } from "./files.ts";
import { Git } from "./git.ts";
import { Ports } from "./ports.ts";
import type { Process } from "./process.ts";
import { Terminals } from "./pty.ts";

/** With what a call reaches the platform: an open connection, or what is needed to open one. */
export type Via = ConnectionOptions & { connection?: Connection };

/** A new workspace. Everything has a default. */
export interface CreateOptions extends Omit<CreateWorkspace, "wait">, Via {
  /** Receives each step while the workspace is made. */
  onProgress?: (event: Extract<WorkspaceEvent, { type: "progress" }>) => void;
  /** Gives up: what was made so far is deleted. */
  signal?: AbortSignal;
}

const createTimeoutMs = 120_000;
const wakeTimeoutMs = 120_000;
const snapshotTimeoutMs = 120_000;
// Its machine is booted from its drive.
const bakeTimeoutMs = 600_000;

/** How {@link Workspace.fork} forks. */
export type ForkOptions = ForkWorkspace;

/** How {@link Workspace.rebuild} rebuilds, and who is told of it. */
export type RebuildOptions = Omit<RebuildWorkspace, "wait"> & WatchOptions;

/** What became of one fork. */
export type ForkOutcome = { workspace: Workspace; error?: undefined } | { workspace?: undefined; error: DormouseError };

/**
 * A workspace: a real machine with files, processes, terminals and git. Calls reach it
 * wherever it is; one that sleeps is woken. With `await using` it is deleted at the
 * end of the block:
 *
 * ```ts
 * await using workspace = await Workspace.create({ ttlSeconds: 3600 });
 * const { exitCode, stdout } = await workspace.exec("uname -a");
 * ```
 */
export class Workspace {
  readonly id: string;
  readonly connection: Connection;
  readonly files: Files;
  readonly pty: Terminals;
  readonly git: Git;
  readonly ports: Ports;
  readonly egress: Egress;
  readonly #guest: GuestClient;
  readonly #channel: Channel;
  #info: WorkspaceInfo;

  private constructor(connection: Connection, info: WorkspaceInfo) {
    this.connection = connection;
    this.id = info.id;
    this.#info = info;
    const guest = connection.guest(info.id);
    const channel = connection.channel(info.id);
    this.#guest = guest;
    this.#channel = channel;
    this.files = new Files({ connection, workspaceId: info.id, guest, channel });
    this.pty = new Terminals(guest, channel);
    this.git = new Git(guest, channel);
    this.ports = new Ports(connection, channel, () => this.#info);
    this.egress = new Egress(connection, info.id);
  }

  /**
   * Makes a workspace and answers when it runs. When that fails nothing of it is left.
   * @throws DormouseError e.g. `not_found` for a template or repository that is not there,
   *   `resource_exhausted` naming what is free, `cancelled` by `signal`.
   */
  static async create(options: CreateOptions = {}): Promise<Workspace> {
    const { connection: given, url, apiKey, requestTimeoutMs, onProgress, signal, ...wanted } = options;
    signal?.throwIfAborted();
    const connection = given ?? (await Connection.open({ url, apiKey, requestTimeoutMs }));
    const input = { ...wanted, organisation: wanted.organisation ?? connection.organisation };
    // Whoever watches or may give up needs the name of what is being made, and what a repository asks for may take longer
    // than any request; else one call does it all.
    const info =
      onProgress || signal || input.repository !== undefined
        ? await createWatched(connection, input, { onProgress, signal })
        : await connection.api.workspaces.create({ ...input, wait: true }, { context: { timeoutMs: createTimeoutMs } });
    return new Workspace(connection, info);
  }

  /** The workspace of this name or id. Does not wake it; the next call that needs its machine does. */
  static async connect(reference: string, via: Via = {}): Promise<Workspace> {
    const connection = via.connection ?? (await Connection.open(via));
    return new Workspace(connection, await connection.api.workspaces.get({ workspace: reference }));
  }

  /** The caller's workspaces, of all organisations or of the one that is meant, as data; for who manages that, everybody's in it. */
  static async list(via: Via = {}): Promise<WorkspaceInfo[]> {
    const connection = via.connection ?? (await Connection.open(via));
    const organisation = via.organisation ?? connection.organisation;
    return (await connection.api.workspaces.list({ organisation })).workspaces;
  }

  /** Deletes a workspace by name or id, from any state. */
  static async kill(reference: string, via: Via = {}): Promise<void> {
    const connection = via.connection ?? (await Connection.open(via));
    await connection.api.workspaces.delete({ workspace: reference });
  }

  /** What the platform said of it last; {@link refresh} asks again. */
  get info(): WorkspaceInfo {
    return this.#info;
  }

  get name(): string {
    return this.#info.name;
  }

  get state(): WorkspaceInfo["state"] {
    return this.#info.state;
  }

  /** Where processes start, and where the repository is. */
  get folder(): string {
    return this.#info.folder;
  }

  /** The page of this workspace. */
  get url(): string {
    return this.#info.url;
  }

  /** When it is deleted unless extended; null: kept. */
  get expiresAt(): Date | null {
    return this.#info.expiresAt === null ? null : new Date(this.#info.expiresAt);
  }

  /**
   * Runs a command. A string goes to the user's shell, an array is a program with its
   * arguments. A non-zero exit code is a result; so is a time-out (`timedOut`).
   */
  exec(command: Command, options: ExecOptions & { background: true }): Promise<Process>;
  exec(command: Command, options?: ExecOptions & { background?: false }): Promise<ExecResult>;
  exec(command: Command, options: ExecOptions = {}): Promise<ExecResult | Process> {
    const target = { guest: this.#guest, channel: this.#channel };
    return options.background ? start(target, command, options) : execute(target, command, options);
  }

  /** Asks the platform how it stands. */
  async refresh(): Promise<this> {
    this.#info = await this.connection.api.workspaces.get({ workspace: this.id });
    return this;
  }

  /**
   * What would be lost with it: changed files, commits that no remote has, stashes. Null when it has no repository, or
   * nothing is known of it. Of one that sleeps, what its newest snapshot says; it is not woken.
   */
  async unpushedWork(): Promise<UnpushedWork | null> {
    return (await this.connection.api.workspaces.unpushed({ workspace: this.id })).work;
  }

  /** Puts it to sleep as it is; answers when it sleeps. */
  async hibernate(): Promise<this> {
    const context = { timeoutMs: wakeTimeoutMs };
    this.#info = await this.connection.api.workspaces.hibernate({ workspace: this.id }, { context });
    return this;
  }

  /** Wakes it, or recovers a failed one; answers when it runs. */
  async wake(): Promise<this> {
    const context = { timeoutMs: wakeTimeoutMs };
    this.#info = await this.connection.api.workspaces.wake({ workspace: this.id }, { context });
    return this;
  }

  /**
   * Keeps this moment of it, memory and disk; answers when the snapshot is durable. Of one that sleeps, its sleep is
   * answered. A snapshot with a name is kept until it is deleted.
   */
  async snapshot(options: { name?: string } = {}): Promise<Snapshot> {
    const context = { timeoutMs: snapshotTimeoutMs };
    return await this.connection.api.snapshots.create({ workspace: this.id, ...options }, { context });
  }

  /** Its timeline, newest first. */
  async snapshots(): Promise<Snapshot[]> {
    return (await this.connection.api.snapshots.list({ workspace: this.id })).snapshots;
  }

  async deleteSnapshot(snapshot: string): Promise<void> {
    await this.connection.api.snapshots.delete({ workspace: this.id, snapshot });
  }

  /** Goes back to one of its snapshots, by id or name. What it is now is kept as a snapshot first. */
  async restore(snapshot: string): Promise<this> {
    const context = { timeoutMs: snapshotTimeoutMs + wakeTimeoutMs };
    this.#info = await this.connection.api.workspaces.restore({ workspace: this.id, snapshot }, { context });
    return this;
  }

  /**
   * Applies its repository's `devcontainer.json` again, in a machine made anew unless `ifNeeded` says otherwise; answers
   * when it runs. The repository's folder is carried over as it is, nothing else of the machine is.
   */
  async rebuild(options: RebuildOptions = {}): Promise<this> {
    const { onProgress, signal, ...request } = options;
    const began = await this.connection.api.workspaces.rebuild({ workspace: this.id, ...request, wait: false });
    this.#info = await watchUntilRunning(this.connection, began, { onProgress, signal });
    return this;
  }

  /**
   * For tools that people work with: runs what its repository's `devcontainer.json` has for each that attaches, in the
   * background; false when there is nothing. What came of it is in `info.devcontainer.attached` some time later.
   */
  async attach(): Promise<boolean> {
    const context = { timeoutMs: wakeTimeoutMs };
    return (await this.connection.api.workspaces.attach({ workspace: this.id }, { context })).runs;
  }

  /**
   * Makes workspaces that go on from this one as it is now, its processes included, or from one of its snapshots. Each
   * has a name, an identity and an environment of its own, and succeeds or fails by itself.
   */
  async fork(options: ForkOptions = {}): Promise<ForkOutcome[]> {
    const timeoutMs = snapshotTimeoutMs + (options.count ?? 1) * wakeTimeoutMs;
    const { forks } = await this.connection.api.workspaces.fork(
      { workspace: this.id, ...options },
      { context: { timeoutMs } },
    );
    return forks.map((fork) =>
      "workspace" in fork
        ? { workspace: new Workspace(this.connection, fork.workspace) }
        : { error: new DormouseError(fork.error.code as ErrorCode, fork.error.message) },
    );
  }

  /**
   * Makes it the next version of a template, for others to be created from, and deletes it. It must run, and must have
   * been created without `env`. Create it with `prebuild: true` to leave to those others what is a person's own.
   */
  async bake(name: string): Promise<Template> {
    const context = { timeoutMs: bakeTimeoutMs };
    const template = await this.connection.api.templates.create({ name, workspace: this.id }, { context });
    this.close();
    return template;
  }

  /** It is put to sleep after it was idle for so long; null: never. */
  async setHibernateAfter(hibernateAfterSeconds: number | null): Promise<this> {
    this.#info = await this.connection.api.workspaces.update({ workspace: this.id, hibernateAfterSeconds });
    return this;
  }

  /** It is deleted after it slept for so long without a break; null: never. */
  async setDeleteAfter(deleteAfterSeconds: number | null): Promise<this> {
    this.#info = await this.connection.api.workspaces.update({ workspace: this.id, deleteAfterSeconds });
    return this;
  }

  /** Which requests to its ports wake it when it sleeps. */
  async setWakeOn(wakeOn: Partial<WorkspaceInfo["wakeOn"]>): Promise<this> {
    this.#info = await this.connection.api.workspaces.update({ workspace: this.id, wakeOn });
    return this;
  }

  /** It is deleted `ttlSeconds` from now; null keeps it. */
  async setTtl(ttlSeconds: number | null): Promise<this> {
    this.#info = await this.connection.api.workspaces.update({ workspace: this.id, ttlSeconds });
    return this;
  }

  async rename(name: string): Promise<this> {
    this.#info = await this.connection.api.workspaces.update({ workspace: this.id, name });
    return this;
  }

  /** Follows its state and the steps of what is being done; first the state as it is. Ends when it is deleted. */
  async *events(options: { signal?: AbortSignal } = {}): AsyncGenerator<WorkspaceEvent, void, undefined> {
    const { signal } = options;
    for (let failures = 0; ; ) {
      try {
        for await (const event of await this.connection.api.workspaces.events({ workspace: this.id }, { signal })) {
          failures = 0;
          if (event.type === "state") this.#info = event.workspace;
          yield event;
          if (event.type === "deleted") return;
        }
      } catch (caught) {
        const error = fromRpcError(caught);
        if (signal?.aborted || error.code !== "unavailable" || ++failures > 10) throw error;
      }
      // The stream begins with the state as it is, so nothing is missed by asking again.
      await sleep(Math.min(100 * 2 ** failures, 2_000), signal);
    }
  }

  /** Deletes it with everything in it, from any state. One that is gone already is no error. */
  async kill(): Promise<void> {
    this.close();
    try {
      await this.connection.api.workspaces.delete({ workspace: this.id });
    } catch (error) {
      if (!(error instanceof DormouseError) || error.code !== "not_found") throw error;
    }
  }

  /** Closes this program's connection to it; the workspace and its processes go on. */
  close(): void {
    this.#channel.close();
  }

  /** Deletes it: what `await using` does at the end of its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
