import { type FSWatcher, lstatSync, readdirSync, watch } from "node:fs";
import { posix } from "node:path";
import { setImmediate } from "node:timers/promises";
import { DormouseError, slices } from "@dormouse/base";
import type { FileChange } from "@dormouse/contract/guest-schemas";
import { bytesToPath } from "../byte-path.ts";
import { globMatcher } from "./glob.ts";
import { fileError, native, resolvePath } from "./guest-files.ts";

/** Folders one watch covers; what lies deeper in a larger tree is told by `overflow` alone. */
const maxFolders = 16_384;
/** Changes are gathered this long, so that a build is a few events and not thousands. */
const batchMs = 50;
/** Changes that may wait for a slow client; beyond it is told to look for itself. */
const maxPending = 10_000;

/** What `files.watch` yields. */
export interface WatchBatch {
  changes: FileChange[];
  overflow: boolean;
}

/** What to watch. */
export interface WatchOptions {
  path: string;
  recursive: boolean;
  exclude: readonly string[];
}

// What happened to a name, the weightier later: its content changed; a walk of ours found it in a folder that is
// new; something was put in its place or taken from it.
const changed = 0;
const found = 1;
const placed = 2;
type Touch = typeof changed | typeof found | typeof placed;

interface Tree {
  ready: Promise<void>;
  listeners: Set<(batch: WatchBatch) => void>;
  close(): void;
}

/** Watching, apart from the other file functions because it keeps state. */
export type WatchService = ReturnType<typeof createWatchService>;

/** `files.watch`. Clients that watch the same tree share its kernel watches. */
export function createWatchService(root: string) {
  const trees = new Map<string, Tree>();
  return {
    async *watch(options: WatchOptions, signal?: AbortSignal): AsyncGenerator<WatchBatch> {
      const key = JSON.stringify([options.path, options.recursive, options.exclude]);
      const tree = trees.get(key) ?? (await openTree(root, options));
      trees.set(key, tree);
      const inbox = createInbox();
      tree.listeners.add(inbox.put);
      try {
        await tree.ready;
        yield { changes: [], overflow: false };
        for (;;) {
          const batch = await inbox.take(signal);
          if (!batch) return;
          yield batch;
        }
      } finally {
        tree.listeners.delete(inbox.put);
        if (tree.listeners.size === 0) {
          if (trees.get(key) === tree) trees.delete(key);
          tree.close();
        }
      }
    },
  };
}

/** Joins batches while the client is busy with an earlier one. */
function createInbox() {
  let pending: WatchBatch | undefined;
  let notify: (() => void) | undefined;
  return {
    put(batch: WatchBatch): void {
      const changes = [...(pending?.changes ?? []), ...batch.changes];
      const isFull = changes.length > maxPending;
      pending = { changes: isFull ? [] : changes, overflow: isFull || batch.overflow || (pending?.overflow ?? false) };
      notify?.();
    },
    async take(signal?: AbortSignal): Promise<WatchBatch | undefined> {
      while (!pending && !signal?.aborted) {
        await new Promise<void>((resolve) => {
          notify = resolve;
          signal?.addEventListener("abort", () => resolve(), { once: true });
        });
      }
      if (signal?.aborted) return undefined;
      const batch = pending;
      pending = undefined;
      return batch;
    },
  };
}

async function openTree(root: string, { path, recursive, exclude }: WatchOptions): Promise<Tree> {
  const top = await resolvePath(root, path);
  const isExcluded = globMatcher(exclude);
  const listeners = new Set<(batch: WatchBatch) => void>();
  const watchers = new Map<string, FSWatcher>();
  const touched = new Map<string, Touch>();
  let hasOverflowed = false;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;

  // Names below are relative to the top, "" for itself.
  const absolute = (name: string) => (name === "" ? top : `${top === "/" ? "" : top}/${name}`);
  const asUserSees = (name: string) => (name === "" ? path : posix.join(path, name));

  const schedule = () => {
    timer ??= setTimeout(flush, batchMs);
  };
  const touch = (name: string, how: Touch) => {
    if (isExcluded(name)) return;
    if (touched.size >= maxPending) hasOverflowed = true;
    else touched.set(name, Math.max(how, touched.get(name) ?? how) as Touch);
    schedule();
  };

  const flush = () => {
    timer = undefined;
    if (isClosed) return;
    const changes: FileChange[] = [];
    const batch = [...touched];
    touched.clear();
    for (const [name, how] of batch) {
      const stats = lstatSync(native(absolute(name)), { throwIfNoEntry: false });
      changes.push({ type: stats ? (how === changed ? "changed" : "created") : "deleted", path: asUserSees(name) });
      // A watch of that name, if there is one, looks at something that has gone.
      if (!stats || how === placed) forget(name);
      if (recursive && how === placed && stats?.isDirectory()) void cover(name, true).catch(onLost);
    }
    const overflow = hasOverflowed;
    hasOverflowed = false;
    if (changes.length > 0 || overflow) for (const listener of listeners) listener({ changes, overflow });
  };

  const onLost = () => {
    hasOverflowed = true;
    schedule();
  };

  const forget = (name: string) => {
    for (const [watched, watcher] of watchers) {
      if (watched !== name && !watched.startsWith(`${name}/`)) continue;
      watcher.close();
      watchers.delete(watched);
    }
  };

  const watchFolder = (name: string) => {
    if (isClosed || watchers.has(name)) return;
    if (watchers.size >= maxFolders) return onLost();
    const watcher = watch(native(absolute(name)), { encoding: "buffer", persistent: false }, (kind, bytes) => {
      if (!bytes) return touch(name, changed);
      const child = bytesToPath(bytes);
      // A single file that is watched reports its own name.
      touch(isFile ? name : name === "" ? child : `${name}/${child}`, kind === "rename" ? placed : changed);
    });
    watcher.on("error", onLost);
    watchers.set(name, watcher);
  };

  /** Watches a folder and, if asked to, all below it; `isNew`: what is found there was not told yet. */
  const cover = async (start: string, isNew: boolean) => {
    const pause = slices(setImmediate);
    const queue = [start];
    for (let name = queue.pop(); name !== undefined && !isClosed; name = queue.pop()) {
      await pause();
      try {
        watchFolder(name);
        if (!recursive) continue;
        // Read after the watch is set: what comes in between is seen twice rather than never.
        for (const entry of readdirSync(native(absolute(name)), { withFileTypes: true, encoding: "buffer" })) {
          const child = name === "" ? bytesToPath(entry.name) : `${name}/${bytesToPath(entry.name)}`;
          if (isExcluded(child)) continue;
          if (isNew) touch(child, found);
          if (entry.isDirectory() && !watchers.has(child)) queue.push(child);
        }
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        // Gone again, or closed to us: there is nothing to watch. Anything else means blind spots.
        if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "EACCES") onLost();
      }
    }
  };

  const stats = lstatSync(native(top), { throwIfNoEntry: false });
  if (!stats) throw new DormouseError("not_found", `path: ${path} is not there`);
  const isFile = !stats.isDirectory();
  try {
    watchFolder("");
  } catch (error) {
    throw fileError(error, path);
  }
  return {
    listeners,
    ready: isFile ? Promise.resolve() : cover("", false),
    close() {
      isClosed = true;
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
      watchers.clear();
    },
  };
}
