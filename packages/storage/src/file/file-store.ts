import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  assertKey,
  assertPrefix,
  assertRange,
  type ObjectBody,
  type ObjectFacts,
  type ObjectStore,
} from "../object-store.ts";

/** Where a {@link createFileStore} keeps its objects. */
export interface FileStoreOptions {
  /** Made with mode 0700 when missing. */
  folder: string;
  /**
   * A temporary file that nobody has written to for this long belongs to a writer that
   * is dead; default 15 min. Process ids would not tell: writers of several containers
   * may share the folder.
   */
  leftoverMs?: number;
}

/** Temporary files lie here, on the file system of the objects; no key begins with a dot. */
const temporaryName = ".tmp";
const defaultLeftoverMs = 15 * 60_000;
/** A folder may go, emptied by a removal, between making it and linking into it; this often in a row it will not. */
const maxFolderAttempts = 10;

/**
 * Objects as files of a folder, for one machine. A put writes a temporary file, syncs
 * it, links or renames it into place and syncs the folder: after a crash at any point
 * the object is there whole or not at all. Folders have mode 0700, files 0600.
 */
export async function createFileStore(options: FileStoreOptions): Promise<ObjectStore> {
  const root = resolve(options.folder);
  const temporaries = join(root, temporaryName);
  await naming("", root, () => mkdir(temporaries, { recursive: true, mode: 0o700 }));
  const leftoverMs = options.leftoverMs ?? defaultLeftoverMs;
  await removeLeftovers(temporaries, leftoverMs);
  let cleanedMs = Date.now();

  return {
    name: root,
    async put(key, body, { ifAbsent, signal } = {}) {
      assertKey(key);
      const temporary = join(temporaries, randomBytes(12).toString("hex"));
      if (Date.now() - cleanedMs > leftoverMs) {
        cleanedMs = Date.now();
        await removeLeftovers(temporaries, leftoverMs);
      }
      await naming(
        key,
        root,
        async () => {
          try {
            await writeDurably(temporary, body, signal);
            signal?.throwIfAborted();
            await publish(temporary, join(root, key), ifAbsent ?? false);
          } finally {
            // Gone already after a rename. A failure to remove it must not hide the error that led here.
            await rm(temporary, { force: true }).catch(() => {});
          }
        },
        signal,
      );
    },
    async get(key, range = {}) {
      assertKey(key);
      assertRange(key, range);
      return naming(
        key,
        root,
        async () => {
          range.signal?.throwIfAborted();
          const file = await open(join(root, key), constants.O_RDONLY | constants.O_NOFOLLOW);
          try {
            return await readRange(file, range.offset ?? 0, range.length ?? Number.POSITIVE_INFINITY, range.signal);
          } finally {
            await file.close();
          }
        },
        range.signal,
      );
    },
    async stat(key, { signal } = {}) {
      assertKey(key);
      return naming(
        key,
        root,
        async () => {
          signal?.throwIfAborted();
          return factsOf(join(root, key));
        },
        signal,
      );
    },
    async *list(prefix, { signal } = {}) {
      assertPrefix(prefix);
      yield* walk(root, prefix, signal);
    },
    async remove(keys, { signal } = {}) {
      for (const key of keys) assertKey(key);
      for (const key of keys) {
        await naming(
          key,
          root,
          async () => {
            signal?.throwIfAborted();
            await rm(join(root, key), { force: true });
            await removeEmptyFolders(root, dirname(key));
          },
          signal,
        );
      }
    },
  };
}

async function writeDurably(path: string, body: ObjectBody, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const file = await open(path, "wx", 0o600);
  try {
    if (body instanceof Uint8Array) {
      await file.writeFile(body);
    } else {
      for await (const piece of body) {
        signal?.throwIfAborted();
        await file.writeFile(piece);
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function publish(temporary: string, target: string, ifAbsent: boolean): Promise<void> {
  const folder = dirname(target);
  for (let attempt = 1; ; attempt++) {
    try {
      await makeFolders(folder);
      // Unlike rename, link refuses when the name is taken.
      if (ifAbsent) await link(temporary, target);
      else await rename(temporary, target);
      break;
    } catch (error) {
      const isFolderGone = (error as NodeJS.ErrnoException).code === "ENOENT" && attempt < maxFolderAttempts;
      if (!isFolderGone) throw error;
    }
  }
  if (ifAbsent) await unlink(temporary);
  await syncFolder(folder);
}

/** Makes what is missing of a path, and makes the names of new folders durable too. */
async function makeFolders(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let parent = dirname(folder); parent.length >= dirname(first).length; parent = dirname(parent)) {
    await syncFolder(parent);
    if (parent === dirname(parent)) break;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function readRange(file: FileHandle, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
  const { size } = await file.stat();
  const target = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
  let done = 0;
  while (done < target.length) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(target, done, target.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return target.subarray(0, done);
}

async function factsOf(path: string): Promise<ObjectFacts | undefined> {
  try {
    const facts = await stat(path);
    return facts.isFile() ? { bytes: facts.size, modifiedMs: facts.mtimeMs } : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Entries are sorted as whole keys sort: a folder's name counts with the slash that follows it. */
async function* walk(
  root: string,
  prefix: string,
  signal?: AbortSignal,
): AsyncGenerator<{ key: string } & ObjectFacts> {
  const entries = await naming(
    prefix,
    root,
    async () => {
      signal?.throwIfAborted();
      return readdir(join(root, prefix), { withFileTypes: true });
    },
    signal,
  ).catch((error: DormouseError) => {
    if (error.code === "not_found") return [];
    throw error;
  });
  const names = entries
    .filter((entry) => !entry.name.startsWith("."))
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .sort((a, b) => (a < b ? -1 : 1));
  for (const name of names) {
    if (name.endsWith("/")) {
      yield* walk(root, prefix + name, signal);
      continue;
    }
    const key = prefix + name;
    // Removed in the meantime: then it is not listed.
    const facts = await naming(key, root, () => factsOf(join(root, key)));
    if (facts) yield { key, ...facts };
  }
}

async function removeEmptyFolders(root: string, folder: string): Promise<void> {
  for (let path = folder; path !== "."; path = dirname(path)) {
    try {
      await rmdir(join(root, path));
    } catch {
      // Not empty, or somebody else was faster: nothing more to do either way.
      return;
    }
  }
}

async function removeLeftovers(temporaries: string, leftoverMs: number): Promise<void> {
  const nowMs = Date.now();
  for (const name of await readdir(temporaries)) {
    const path = join(temporaries, name);
    const facts = await factsOf(path);
    if (facts && nowMs - facts.modifiedMs > leftoverMs) await rm(path, { force: true });
  }
}

/** Runs one operation; whatever it throws becomes one of our errors that names key and store. */
async function naming<T>(key: string, root: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (caught) {
    if (caught instanceof DormouseError) throw caught;
    const { code, message } = DormouseError.from(codeOfFault(caught), signal?.aborted ? "cancelled" : "unavailable");
    throw new DormouseError(code, `${key || "the folder"} in ${root}: ${message}`, { cause: caught });
  }
}

/** A folder where a file is asked for is, for whoever asks, an object that is not there. */
function codeOfFault(caught: unknown): unknown {
  const { code, message } = caught as NodeJS.ErrnoException;
  if (code === "EISDIR" || code === "ENOTDIR" || code === "ELOOP") return new DormouseError("not_found", `${message}`);
  return caught;
}
