import type { FileChange, FileEntry } from "@dormouse/contract";
import { encodePath, toBase64, toBytes } from "./bytes.ts";
import type { Channel } from "./channel.ts";
import type { Connection, GuestClient } from "./connection.ts";

/** What a write may ask for. */
export interface WriteOptions {
  /** Permission bits of a new file. */
  mode?: number;
  /** Refuse with `already_exists` when false and the file is there; default true. */
  overwrite?: boolean;
  /** Refuse with `aborted` when the file's etag is another by now. */
  ifEtag?: string;
  signal?: AbortSignal;
}

/** How {@link Files.watch} watches. */
export interface WatchOptions {
  /** Default true. */
  recursive?: boolean;
  /** Glob patterns of what is not watched. */
  exclude?: string[];
  /** Some changes were missed: look again at everything. Also after a cut connection. */
  onOverflow?: () => void;
  /** Watching ended with this error. */
  onError?: (error: unknown) => void;
  signal?: AbortSignal;
}

// Large files may take their time to begin, when a sleeping machine has to read them from disk.
const transferTimeoutMs = 300_000;

/** Files of a workspace. Paths are absolute, as in the machine. */
export class Files {
  readonly #connection: Connection;
  readonly #workspaceId: string;
  readonly #guest: GuestClient;
  readonly #channel: Channel;

  constructor(options: { connection: Connection; workspaceId: string; guest: GuestClient; channel: Channel }) {
    this.#connection = options.connection;
    this.#workspaceId = options.workspaceId;
    this.#guest = options.guest;
    this.#channel = options.channel;
  }

  /** A whole file. For what may not fit into memory there is {@link readStream}. */
  async read(path: string, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const response = await this.#get(path, options.signal);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** A whole file as text; bytes that are not UTF-8 become U+FFFD. */
  async readText(path: string, options: { signal?: AbortSignal } = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** A file of any size, as it comes. */
  async readStream(path: string, options: { signal?: AbortSignal } = {}): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#get(path, options.signal);
    return response.body ?? new Blob([]).stream();
  }

  /** Replaces a file as a whole, and makes missing parent folders. */
  async write(path: string, content: string | Uint8Array, options: WriteOptions = {}): Promise<FileEntry> {
    const { mode, overwrite, ifEtag, signal } = options;
    const bytes = toBytes(content);
    if (overwrite !== undefined || ifEtag !== undefined || bytes.length <= smallFileBytes) {
      return await this.#guest.files.write({ path, content: toBase64(bytes), mode, overwrite, ifEtag }, { signal });
    }
    return await this.#put(path, bytes as Uint8Array<ArrayBuffer>, options);
  }

  /** Replaces a file of any size with what comes; until the end the old file stands. */
  async writeStream(
    path: string,
    content: ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>,
    options: Pick<WriteOptions, "mode" | "signal"> = {},
  ): Promise<FileEntry> {
    const stream = content instanceof ReadableStream ? content : ReadableStream.from(content);
    return await this.#put(path, stream, options);
  }

  /** What is in a folder, at most the first 100,000 entries. */
  async list(path: string, options: { signal?: AbortSignal } = {}): Promise<FileEntry[]> {
    return (await this.#guest.files.list({ path }, options)).entries;
  }

  async stat(path: string, options: { signal?: AbortSignal } = {}): Promise<FileEntry> {
    return await this.#guest.files.stat({ path }, options);
  }

  async exists(path: string, options: { signal?: AbortSignal } = {}): Promise<boolean> {
    return (await this.#guest.files.exists({ path }, options)).exists;
  }

  /** Makes a folder and its missing parents. */
  async makeDirectory(path: string, options: { signal?: AbortSignal } = {}): Promise<FileEntry> {
    return await this.#guest.files.makeDirectory({ path }, options);
  }

  async rename(
    from: string,
    to: string,
    options: { overwrite?: boolean; signal?: AbortSignal } = {},
  ): Promise<FileEntry> {
    return await this.#guest.files.rename({ from, to, overwrite: options.overwrite }, { signal: options.signal });
  }

  async copy(
    from: string,
    to: string,
    options: { overwrite?: boolean; signal?: AbortSignal } = {},
  ): Promise<FileEntry> {
    return await this.#guest.files.copy({ from, to, overwrite: options.overwrite }, { signal: options.signal });
  }

  /** Removes a file, or a folder with `recursive: true`. */
  async remove(path: string, options: { recursive?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    await this.#guest.files.remove({ path, recursive: options.recursive }, { signal: options.signal });
  }

  /**
   * Reports changes at and below a path. Resolves once watching has begun: every later change is reported.
   * @returns a handle whose `stop` ends it.
   */
  async watch(
    path: string,
    onChange: (changes: FileChange[]) => void,
    options: WatchOptions = {},
  ): Promise<{ stop: () => void }> {
    const controller = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
    const { recursive, exclude } = options;
    const open = (client: GuestClient, streamSignal: AbortSignal | undefined) =>
      client.files.watch({ path, recursive, exclude }, { signal: streamSignal });
    const batches = this.#channel.follow(open, {
      signal,
      onConnection: (state) => state === "back" && options.onOverflow?.(),
    });
    // The first batch is empty: it says that the watch stands.
    await batches.next();
    const follow = async () => {
      for await (const batch of batches) {
        if (batch.overflow) options.onOverflow?.();
        if (batch.changes.length > 0) onChange(batch.changes);
      }
    };
    follow().catch((error: unknown) => {
      if (!signal.aborted) options.onError?.(error);
    });
    return { stop: () => controller.abort() };
  }

  #get(path: string, signal: AbortSignal | undefined): Promise<Response> {
    return this.#connection.file(this.#workspaceId, `path=${encodePath(path)}`, { signal }, transferTimeoutMs);
  }

  async #put(
    path: string,
    body: ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer>,
    options: Pick<WriteOptions, "mode" | "signal">,
  ): Promise<FileEntry> {
    const mode = options.mode === undefined ? "" : `&mode=${options.mode.toString(8).padStart(3, "0")}`;
    const init = { method: "PUT", body, signal: options.signal, duplex: "half" } as RequestInit;
    const response = await this.#connection.file(
      this.#workspaceId,
      `path=${encodePath(path)}&parents=true${mode}`,
      init,
      transferTimeoutMs,
    );
    return (await response.json()) as FileEntry;
  }
}

// Up to here one message is as good as a stream and carries every option.
const smallFileBytes = 256 * 1024;
