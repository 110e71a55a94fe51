import type { GitBranch, GitCommit, GitProgress, GitStatus, GuestContract } from "@dormouse/contract";
import type { InferContractRouterInputs } from "@orpc/contract";
import type { Channel } from "./channel.ts";
import type { GuestClient } from "./connection.ts";

type Inputs = InferContractRouterInputs<GuestContract>["git"];
type Options<Name extends keyof Inputs> = Omit<Inputs[Name], "cwd">;

/** What the calls that talk to a remote take besides. */
export interface GitTransferOptions {
  onProgress?: (progress: GitProgress) => void;
  signal?: AbortSignal;
}

/**
 * Git in the machine; `cwd` is a folder in the repository. Failures are DormouseErrors
 * whose `details.reason` is one of the contract's `gitReasons`, e.g. `authentication`.
 */
export class Git {
  readonly #guest: GuestClient;
  readonly #channel: Channel;

  constructor(guest: GuestClient, channel: Channel) {
    this.#guest = guest;
    this.#channel = channel;
  }

  async status(cwd: string): Promise<GitStatus> {
    return await this.#guest.git.status({ cwd });
  }

  /** The changes as a patch; of one file with `path`, of the index with `staged`. */
  async diff(cwd: string, options: Options<"diff"> = {}): Promise<string> {
    return (await this.#guest.git.diff({ cwd, ...options })).patch;
  }

  async stage(cwd: string, paths: string[]): Promise<void> {
    await this.#guest.git.stage({ cwd, paths });
  }

  async unstage(cwd: string, paths: string[]): Promise<void> {
    await this.#guest.git.unstage({ cwd, paths });
  }

  /** Undoes changes of tracked files and removes untracked ones. */
  async discard(cwd: string, paths: string[]): Promise<void> {
    await this.#guest.git.discard({ cwd, paths });
  }

  /** @returns the new commit's hash. */
  async commit(cwd: string, message: string, options: Omit<Options<"commit">, "message"> = {}): Promise<string> {
    return (await this.#guest.git.commit({ cwd, message, ...options })).hash;
  }

  async branches(cwd: string): Promise<GitBranch[]> {
    return (await this.#guest.git.branches({ cwd })).branches;
  }

  /** Switches to a branch or commit, or makes a branch with `create`. */
  async checkout(cwd: string, ref: string, options: Omit<Options<"checkout">, "ref"> = {}): Promise<void> {
    await this.#guest.git.checkout({ cwd, ref, ...options });
  }

  async log(cwd: string, options: Options<"log"> = {}): Promise<GitCommit[]> {
    return (await this.#guest.git.log({ cwd, ...options })).commits;
  }

  async clone(url: string, path: string, options: { ref?: string; depth?: number } & GitTransferOptions = {}) {
    const { onProgress, signal, ...rest } = options;
    await this.#transfer((client) => client.git.clone({ url, path, ...rest }, { signal }), onProgress);
  }

  async fetch(cwd: string, options: Options<"fetch"> & GitTransferOptions = {}): Promise<void> {
    const { onProgress, signal, ...rest } = options;
    await this.#transfer((client) => client.git.fetch({ cwd, ...rest }, { signal }), onProgress);
  }

  async pull(cwd: string, options: Options<"pull"> & GitTransferOptions = {}): Promise<void> {
    const { onProgress, signal, ...rest } = options;
    await this.#transfer((client) => client.git.pull({ cwd, ...rest }, { signal }), onProgress);
  }

  async push(cwd: string, options: Options<"push"> & GitTransferOptions = {}): Promise<void> {
    const { onProgress, signal, ...rest } = options;
    await this.#transfer((client) => client.git.push({ cwd, ...rest }, { signal }), onProgress);
  }

  /** Not repeated after a cut connection: nobody knows how far it came. */
  async #transfer(
    begin: (client: GuestClient) => Promise<AsyncIterable<GitProgress>>,
    onProgress: ((progress: GitProgress) => void) | undefined,
  ): Promise<void> {
    await this.#channel.call(async (client) => {
      for await (const progress of await begin(client)) onProgress?.(progress);
    });
  }
}
