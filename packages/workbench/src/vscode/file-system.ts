import type { CancellationToken } from "@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation";
import { Emitter, Event } from "@codingame/monaco-vscode-api/vscode/vs/base/common/event";
import type { IDisposable } from "@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle";
import {
  newWriteableStream,
  type ReadableStreamEvents,
} from "@codingame/monaco-vscode-api/vscode/vs/base/common/stream";
import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import {
  FileOperationError,
  FileOperationResult,
  type IFileReadStreamOptions,
} from "@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files";
import {
  FileChangeType,
  FileSystemProviderCapabilities,
  FileType,
  type IFileChange,
  type IFileDeleteOptions,
  type IFileOverwriteOptions,
  type IFileSystemProviderWithFileReadWriteCapability,
  type IFileWriteOptions,
  type IStat,
  type IWatchOptions,
} from "@codingame/monaco-vscode-files-service-override";
import { DormouseError } from "@dormouse/base";
import type { FileChange, FileEntry } from "@dormouse/contract";
import { fromBase64, toBase64 } from "../bytes.ts";
import type { Channel } from "../channel/channel.ts";
import { follow } from "../channel/follow.ts";
import type { FileTransfer } from "../file-transfer.ts";
import { toEditorPath, toGuestPath } from "../paths.ts";
import type { RememberedFile, RememberedFiles } from "../remembered-files.ts";
import { toFileError } from "./file-errors.ts";

/** Up to here a file travels in one message of the channel; more goes over HTTP, which streams. */
const messageBytes = 512 * 1024;
/** Files whose content the editor may still hold; they are looked at again when changes may have been missed. */
const maxHeldFiles = 500;

/**
 * The machine's files as the editor's `file:` scheme, so that paths are the same in
 * editors, terminals, search results and diagnostics. Before the machine is reached for the first time, what an earlier
 * page saw is shown; it is looked at again as soon as the machine answers.
 */
export class GuestFileSystem implements IFileSystemProviderWithFileReadWriteCapability {
  readonly capabilities =
    FileSystemProviderCapabilities.FileReadWrite |
    FileSystemProviderCapabilities.FileReadStream |
    FileSystemProviderCapabilities.FileFolderCopy |
    FileSystemProviderCapabilities.PathCaseSensitive;
  readonly onDidChangeCapabilities = Event.None;
  readonly #changes = new Emitter<readonly IFileChange[]>();
  readonly onDidChangeFile = this.#changes.event;
  readonly #namesChanges = new Emitter<void>();
  /** Files came or went, or may have. */
  readonly onDidChangeNames = this.#namesChanges.event;
  readonly #missed = new Emitter<void>();
  /** Changes may have been missed: whatever was read before may be old. */
  readonly onDidMissChanges = this.#missed.event;

  readonly #channel: Channel;
  readonly #transfer: FileTransfer;
  readonly #remembered: RememberedFiles;
  /** What was answered from memory and not looked at since, by the machine's path. */
  readonly #recalled = new Map<string, FileEntry | null>();
  /** Sizes by the machine's path, the oldest first. */
  readonly #sizes = new Map<string, number>();
  readonly #watches = new Map<string, { users: number; end: AbortController }>();

  constructor(channel: Channel, transfer: FileTransfer, remembered: RememberedFiles) {
    this.#channel = channel;
    this.#transfer = transfer;
    this.#remembered = remembered;
  }

  async stat(resource: URI): Promise<IStat> {
    const path = pathOf(resource);
    const entry = this.#recall(path)?.entry ?? (await this.#look(path, (guest) => guest.files.stat({ path })));
    this.#hold(entry);
    return {
      type: typeOf(entry),
      size: entry.size,
      mtime: Math.trunc(entry.modifiedMs),
      ctime: Math.trunc(entry.createdMs),
    };
  }

  async readdir(resource: URI): Promise<[string, FileType][]> {
    const path = pathOf(resource);
    let children = this.#recall(path)?.children;
    if (!children) {
      const { entries, truncated } = await this.#ask((guest) => guest.files.list({ path }));
      children = entries;
      if (!truncated) this.#remembered.note(path, { children });
    }
    return children.map((entry) => [toEditorPath(entry.name), typeOf(entry)]);
  }

  async readFile(resource: URI): Promise<Uint8Array> {
    const path = pathOf(resource);
    const recalled = this.#recall(path)?.content;
    if (recalled) return recalled;
    if ((this.#sizes.get(path) ?? 0) > messageBytes) return this.#ask(() => this.#transfer.read(path));
    const { content, entry } = await this.#ask((guest) => guest.files.read({ path }));
    this.#hold(entry);
    const bytes = fromBase64(content);
    this.#remembered.note(path, { entry, content: bytes });
    return bytes;
  }

  readFileStream(
    resource: URI,
    options: IFileReadStreamOptions,
    token: CancellationToken,
  ): ReadableStreamEvents<Uint8Array> {
    const stream = newWriteableStream<Uint8Array>((pieces) => concatenate(pieces), { highWaterMark: 16 });
    void this.#pour(resource, options, token, stream).catch((caught) => {
      stream.error(toFileError(caught));
      stream.end();
    });
    return stream;
  }

  async writeFile(resource: URI, content: Uint8Array, options: IFileWriteOptions): Promise<void> {
    const path = pathOf(resource);
    const { create, overwrite } = options;
    const recalled = this.#recalled.get(path);
    if (recalled !== undefined) return await this.#replaceRecalled(path, recalled, content, options);
    // Only a plain save may take the streaming way, which always replaces.
    if (content.byteLength > messageBytes && create && overwrite) {
      await this.#ask(() => this.#transfer.write(path, content));
      this.#remembered.forget(path);
    } else {
      const message = { path, content: toBase64(content), create, overwrite };
      this.#noteWritten(path, await this.#ask((guest) => guest.files.write(message)), content);
    }
  }

  async mkdir(resource: URI): Promise<void> {
    await this.#ask((guest) => guest.files.makeDirectory({ path: pathOf(resource) }));
  }

  async delete(resource: URI, options: IFileDeleteOptions): Promise<void> {
    await this.#ask((guest) => guest.files.remove({ path: pathOf(resource), recursive: options.recursive }));
  }

  async rename(from: URI, to: URI, options: IFileOverwriteOptions): Promise<void> {
    await this.#ask((guest) =>
      guest.files.rename({ from: pathOf(from), to: pathOf(to), overwrite: options.overwrite }),
    );
  }

  async copy(from: URI, to: URI, options: IFileOverwriteOptions): Promise<void> {
    await this.#ask((guest) => guest.files.copy({ from: pathOf(from), to: pathOf(to), overwrite: options.overwrite }));
  }

  watch(resource: URI, options: IWatchOptions): IDisposable {
    const path = pathOf(resource);
    const key = JSON.stringify([path, options.recursive, options.excludes]);
    let watch = this.#watches.get(key);
    if (watch) {
      watch.users++;
    } else {
      watch = { users: 1, end: new AbortController() };
      this.#watches.set(key, watch);
      void this.#follow(path, options, watch.end.signal);
    }
    const watched = watch;
    let disposed = false;
    return {
      dispose: () => {
        if (disposed) return;
        disposed = true;
        if (--watched.users > 0) return;
        this.#watches.delete(key);
        watched.end.abort();
      },
    };
  }

  async #follow(path: string, options: IWatchOptions, signal: AbortSignal): Promise<void> {
    let isSeeing = false;
    try {
      await follow(this.#channel, {
        open: () =>
          this.#channel.guest.files.watch(
            { path, recursive: options.recursive, exclude: options.excludes },
            { signal },
          ),
        onEvent: ({ changes, overflow }) => {
          const told = changes.map(toEditorChange);
          if (told.length > 0) this.#changes.fire(told);
          if (told.some(({ type }) => type !== FileChangeType.UPDATED)) this.#namesChanges.fire();
          // From the first event on changes are seen; what was read before may be old by now.
          if (overflow || (!isSeeing && options.recursive)) this.#miss();
          isSeeing = true;
        },
        onResume: () => {
          isSeeing = false;
          if (!options.recursive) this.#miss();
        },
        signal,
      });
    } catch {
      // The path is not there or may not be read. The editor shows that where it reads it,
      // and watches again when the folder appears.
    }
  }

  /** Makes the editor look again at all it may hold. */
  #miss(): void {
    const held = new Set([...this.#sizes.keys(), ...this.#recalled.keys()]);
    this.#changes.fire([...held].map((path) => ({ type: FileChangeType.UPDATED, resource: uriOf(path) })));
    this.#namesChanges.fire();
    this.#missed.fire();
  }

  async #pour(
    resource: URI,
    options: IFileReadStreamOptions,
    token: CancellationToken,
    stream: ReturnType<typeof newWriteableStream<Uint8Array>>,
  ): Promise<void> {
    const path = pathOf(resource);
    const position = options.position ?? 0;
    const end = options.length === undefined ? undefined : position + options.length;
    if ((this.#sizes.get(path) ?? 0) <= messageBytes) {
      stream.end((await this.readFile(resource)).subarray(position, end));
      return;
    }
    const abort = new AbortController();
    const cancelled = token.onCancellationRequested(() => abort.abort());
    try {
      const limits = { position, length: options.length, signal: abort.signal };
      for await (const piece of await this.#transfer.stream(path, limits)) await stream.write(piece);
      stream.end();
    } finally {
      cancelled.dispose();
    }
  }

  /** What is remembered of a path, as long as the machine was never reached. Throws when it is that nothing is there. */
  #recall(path: string): RememberedFile | undefined {
    if (this.#channel.state !== "connecting") return undefined;
    const known = this.#remembered.get(path);
    if (known?.entry === undefined) return known;
    this.#recalled.set(path, known.entry);
    if (known.entry === null) throw toFileError(new DormouseError("not_found", `there is no ${path}`));
    return known;
  }

  async #look(path: string, question: (guest: Channel["guest"]) => Promise<FileEntry>): Promise<FileEntry> {
    try {
      const entry = await question(this.#channel.guest);
      this.#remembered.note(path, { entry });
      this.#recalled.delete(path);
      return entry;
    } catch (caught) {
      if (DormouseError.from(caught, "unknown").code === "not_found") {
        this.#remembered.note(path, { entry: null });
        this.#recalled.delete(path);
      }
      throw toFileError(caught);
    }
  }

  /** Saves a file that the editor knows from memory: only when it is still what the editor took it for. */
  async #replaceRecalled(
    path: string,
    recalled: FileEntry | null,
    content: Uint8Array,
    { create }: IFileWriteOptions,
  ): Promise<void> {
    const message = { path, content: toBase64(content), create };
    const condition = recalled ? { ifEtag: recalled.etag } : { overwrite: false };
    try {
      this.#noteWritten(path, await this.#channel.guest.files.write({ ...message, ...condition }), content);
      this.#recalled.delete(path);
    } catch (caught) {
      const { code } = DormouseError.from(caught, "unknown");
      if (code !== "aborted" && code !== "already_exists") throw toFileError(caught);
      // From here on the editor compares with what the machine says.
      this.#recalled.delete(path);
      throw new FileOperationError(`${path} was changed`, FileOperationResult.FILE_MODIFIED_SINCE);
    }
  }

  /** At once: an old text that comes back would stand in the way of the next save. */
  #noteWritten(path: string, entry: FileEntry, content: Uint8Array): void {
    this.#remembered.note(path, { entry, content });
    void this.#remembered.flush();
  }

  #hold(entry: FileEntry): void {
    if (entry.type === "directory") return;
    this.#sizes.delete(entry.path);
    this.#sizes.set(entry.path, entry.size);
    for (const oldest of this.#sizes.keys()) {
      if (this.#sizes.size <= maxHeldFiles) break;
      this.#sizes.delete(oldest);
    }
  }

  async #ask<T>(question: (guest: Channel["guest"]) => Promise<T>): Promise<T> {
    try {
      return await question(this.#channel.guest);
    } catch (caught) {
      throw toFileError(caught);
    }
  }
}

const pathOf = (resource: URI) => toGuestPath(resource.path);
const uriOf = (path: string) => URI.file(toEditorPath(path));

const changeTypes = {
  created: FileChangeType.ADDED,
  changed: FileChangeType.UPDATED,
  deleted: FileChangeType.DELETED,
} as const;

function toEditorChange(change: FileChange): IFileChange {
  return { type: changeTypes[change.type], resource: uriOf(change.path) };
}

function typeOf(entry: FileEntry): FileType {
  const types = {
    file: FileType.File,
    directory: FileType.Directory,
    symlink: FileType.Unknown,
    other: FileType.Unknown,
  };
  if (entry.type !== "symlink") return types[entry.type];
  return FileType.SymbolicLink | (entry.targetType ? types[entry.targetType] : FileType.Unknown);
}

function concatenate(pieces: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.byteLength, 0));
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.byteLength;
  }
  return whole;
}
