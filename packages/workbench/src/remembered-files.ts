import type { FileEntry } from "@dormouse/contract";

/** What the machine last said of one path. */
export interface RememberedFile {
  /** `null`: nothing was there. */
  entry?: FileEntry | null;
  /** Of a folder. */
  children?: FileEntry[];
  /** Of a file that is small enough. */
  content?: Uint8Array;
}

/** Where what is remembered outlives the page. */
export interface RememberedStore {
  load(): Promise<[string, RememberedFile][]>;
  save(files: [string, RememberedFile][]): Promise<void>;
}

const maxPaths = 300;
/** One file; larger ones come from the machine. */
const maxFileBytes = 128 * 1024;
/** Content of all files together. */
const maxBytes = 2 * 1024 * 1024;
const saveAfterMs = 1_000;

/**
 * The files that a page looked at, so that the next page can show them while the machine wakes. What is remembered may be
 * old: it serves until the machine answers, and nothing is written on its strength.
 */
export class RememberedFiles {
  readonly #store: RememberedStore;
  /** By the machine's path, what was looked at longest ago first. */
  readonly #files: Map<string, RememberedFile>;
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(store: RememberedStore, files: [string, RememberedFile][]) {
    this.#store = store;
    this.#files = new Map(files);
  }

  /** Reads the store; one that cannot be read counts as empty. */
  static async open(store: RememberedStore): Promise<RememberedFiles> {
    return new RememberedFiles(store, await store.load().catch(() => []));
  }

  get(path: string): RememberedFile | undefined {
    return this.#files.get(path);
  }

  /** Notes what the machine just said. Content belongs to an entry: a new entry lets the old content go. */
  note(path: string, said: RememberedFile): void {
    const known = this.#files.get(path);
    const isSame =
      known?.entry &&
      said.entry &&
      known.entry.modifiedMs === said.entry.modifiedMs &&
      known.entry.size === said.entry.size;
    const kept: RememberedFile = said.entry === undefined || isSame ? { ...known, ...said } : { ...said };
    if (kept.content && kept.content.byteLength > maxFileBytes) delete kept.content;
    this.#files.delete(path);
    this.#files.set(path, kept);
    this.#trim();
    this.#timer ??= setTimeout(() => void this.flush(), saveAfterMs);
  }

  /** Lets a path go, e.g. because it was written to and what is there now has not been looked at. */
  forget(path: string): void {
    if (this.#files.delete(path)) this.#timer ??= setTimeout(() => void this.flush(), saveAfterMs);
  }

  /** Saves now what would be saved soon. A store that refuses costs the memory, nothing else. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#store.save([...this.#files]).catch(() => {});
  }

  #trim(): void {
    let bytes = 0;
    for (const { content } of this.#files.values()) bytes += content?.byteLength ?? 0;
    for (const [path, { content }] of this.#files) {
      if (this.#files.size <= maxPaths && bytes <= maxBytes) return;
      bytes -= content?.byteLength ?? 0;
      this.#files.delete(path);
    }
  }
}
