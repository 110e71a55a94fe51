import { othersFirst } from "./others-first.ts";
import { PathIndex } from "./path-index.ts";

/** While files come and go by the thousand, a list is fetched at most so often for those who find something in the old one. */
const refreshMs = 5_000;
/** A change that nobody told of, perhaps because it was where nothing is watched, is found out after this. */
const maxAgeMs = 60_000;
/** Two folders, or one with two sets of what is left out; the one used longest ago goes. */
const maxLists = 4;

/** Where names are looked up. */
export interface NamedFolder {
  /** In the machine. */
  cwd: string;
  /** Globs of what is left out, beside what git ignores. */
  exclude: readonly string[];
}

/** Lists a folder as the machine's `search.names` does. */
export type ListNames = (folder: {
  cwd: string;
  exclude: string[];
}) => Promise<AsyncIterator<{ names: string }, { limitHit: boolean }>>;

interface FileList {
  index: PathIndex;
  limitHit: boolean;
  listedMs: number;
  /** Files came or went since. */
  isOld: boolean;
}

/**
 * Names of the files of a workspace, kept in the page: a query costs no way to the machine and is answered at the speed of
 * this computer, whatever the machine's is. A list that is old answers all the same, and is fetched again meanwhile.
 */
export class FileNames {
  readonly #listNames: ListNames;
  readonly #lists = new Map<string, FileList>();
  readonly #fetching = new Map<string, Promise<FileList>>();
  #changes = 0;

  constructor(listNames: ListNames) {
    this.#listNames = listNames;
  }

  /** Relative paths, best first; see {@link PathIndex.find}. */
  async find(
    folder: NamedFolder,
    query: string,
    maxResults: number,
    signal?: AbortSignal,
  ): Promise<{ paths: string[]; limitHit: boolean }> {
    const key = JSON.stringify([folder.cwd, folder.exclude]);
    const kept = this.#lists.get(key);
    if (!kept) return await look(await unlessCancelled(this.#fetch(key, folder), signal));
    const found = await look(kept);
    const ageMs = performance.now() - kept.listedMs;
    if (ageMs < maxAgeMs && !kept.isOld) return found;
    // Something that was made a moment ago, perhaps.
    if (found.paths.length === 0) return await look(await unlessCancelled(this.#fetch(key, folder), signal));
    if (ageMs > refreshMs) {
      this.#fetch(key, folder).catch(() => {
        // The kept one serves; the next query tries again.
      });
    }
    return found;

    async function look({ index, limitHit }: FileList) {
      return { paths: await index.find(query, maxResults, signal), limitHit };
    }
  }

  /** Files came or went: what is kept is old. */
  changed(): void {
    this.#changes++;
    for (const list of this.#lists.values()) list.isOld = true;
  }

  #fetch(key: string, folder: NamedFolder): Promise<FileList> {
    const fetching = this.#fetching.get(key) ?? this.#list(key, folder).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return fetching;
  }

  async #list(key: string, { cwd, exclude }: NamedFolder): Promise<FileList> {
    const listedMs = performance.now();
    const changes = this.#changes;
    const names: string[] = [];
    const stream = await this.#listNames({ cwd, exclude: [...exclude] });
    let limitHit = false;
    for (;;) {
      const next = await stream.next();
      if (next.done) {
        limitHit = next.value.limitHit;
        break;
      }
      for (const name of next.value.names.split("//")) if (name) names.push(name);
      await othersFirst();
    }
    const index = await PathIndex.of(names);
    const list = { index, limitHit, listedMs, isOld: changes !== this.#changes };
    this.#lists.delete(key);
    this.#lists.set(key, list);
    for (const [oldest] of this.#lists) if (this.#lists.size > maxLists) this.#lists.delete(oldest);
    return list;
  }
}

/** Others may wait for the same thing, so it goes on when one of them gives up. */
async function unlessCancelled<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    work.catch(() => {});
  }
}
