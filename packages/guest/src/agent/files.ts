import { constants, lstatSync, readdirSync, type Stats } from "node:fs";
import {
  chmod,
  chown,
  copyFile,
  lchown,
  lstat,
  mkdir,
  open,
  readlink,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  unlink,
} from "node:fs/promises";
import { posix } from "node:path";
import { setImmediate } from "node:timers/promises";
import { DormouseError, slices } from "@dormouse/base";
import type { FileEntry } from "@dormouse/contract/guest-schemas";
import { limits } from "@dormouse/contract/limits";
import { bytesToPath } from "../byte-path.ts";
import {
  entryOf,
  etagOf,
  fileError,
  native,
  type Owner,
  ownerIn,
  resolvePath,
  targetTypeOf,
  typeOf,
} from "./guest-files.ts";
import { randomId } from "./random-id.ts";

/** What `files.write` and the streaming route have in common. */
export interface WriteOptions {
  overwrite?: boolean;
  create?: boolean;
  parents?: boolean;
  mode?: number;
  ifEtag?: string;
}

/** `files.*` but watching: paths are the user's, whose root is `root`. */
export type FileService = ReturnType<typeof createFileService>;

/** File functions inside the user's root. `user` says who owns what is made. */
export function createFileService(root: string, user: () => Owner) {
  const entryAt = async (path: string): Promise<FileEntry> => {
    const place = await resolvePath(root, path, false);
    const stats = await lstat(native(place));
    return entryOf(path, stats, stats.isSymbolicLink() ? await targetTypeOf(root, path, place) : undefined);
  };

  const makeFolders = async (folder: string): Promise<Stats> => {
    const known = await lstat(native(folder)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (known?.isDirectory()) return known;
    if (known) throw Object.assign(new Error("no folder"), { code: "ENOTDIR" });
    const parent = await makeFolders(posix.dirname(folder));
    const owner = ownerIn(parent, user());
    await mkdir(native(folder)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await chown(native(folder), owner.uid, owner.gid);
    return lstat(native(folder));
  };

  /**
   * Replaces or creates a file: `fill` writes the content to a new file beside it, which then takes its place,
   * its owner and its mode. Where that cannot be (several names, a mount), the content is written into it.
   */
  const replace = async (path: string, options: WriteOptions, fill: (file: string | Buffer) => Promise<void>) => {
    const target = await resolvePath(root, path);
    const old = await statOrNothing(target);
    refuseWrite(path, old, options);
    const folder =
      options.parents && !old ? await makeFolders(posix.dirname(target)) : await stat(native(posix.dirname(target)));
    const temporary = native(`${posix.dirname(target)}/.${randomId("dormouse")}.tmp`);
    const owner = old ?? ownerIn(folder, user());
    const mode = options.mode ?? (old ? old.mode & 0o7777 : 0o644);
    try {
      await fill(temporary);
      await chown(temporary, owner.uid, owner.gid);
      // After chown, which takes the set-user-id bits away.
      await chmod(temporary, mode);
      // Between the first look and now somebody else may have written.
      refuseWrite(path, await statOrNothing(target), options);
      if (old && old.nlink > 1) await overwriteInPlace(temporary, native(target));
      else await rename(temporary, native(target)).catch((error) => inPlaceInstead(error, temporary, native(target)));
    } finally {
      await rm(temporary, { force: true });
    }
    return entryAt(path);
  };

  const copyTree = async (from: string, to: string, owner: Owner): Promise<void> => {
    const stats = await lstat(native(from));
    if (stats.isSymbolicLink()) {
      await symlink(await readlink(native(from), "buffer"), native(to));
      return lchown(native(to), owner.uid, owner.gid);
    }
    if (stats.isFile()) {
      await copyFile(native(from), native(to), constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    } else if (stats.isDirectory()) {
      await mkdir(native(to));
      for (const name of readdirSync(native(from), "buffer")) {
        await copyTree(`${from}/${bytesToPath(name)}`, `${to}/${bytesToPath(name)}`, owner);
      }
    } else {
      return;
    }
    await chown(native(to), owner.uid, owner.gid);
    await chmod(native(to), stats.mode & 0o7777);
  };

  /** Clears the way for something that is to come to `path`, or refuses. Answers where that is, and in what folder. */
  const prepareTarget = async (path: string, source: string, overwrite: boolean) => {
    const target = await resolvePath(root, path, false);
    if (target === source) throw new DormouseError("invalid_argument", "to: is the same as from");
    if (target.startsWith(`${source}/`)) throw new DormouseError("invalid_argument", `to: ${path} lies inside of from`);
    const folder = await stat(native(posix.dirname(target)));
    const old = await statOrNothing(target);
    if (old && !overwrite) throw new DormouseError("already_exists", `to: ${path} is there already`);
    return { target, folder, old };
  };

  return {
    stat: (path: string) => entryAt(path).catch((error) => fail(error, path)),

    async exists(path: string): Promise<boolean> {
      try {
        await lstat(native(await resolvePath(root, path, false)));
        return true;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOENT" || code === "ENOTDIR") return false;
        throw fileError(error, path);
      }
    },

    async list(path: string, signal?: AbortSignal): Promise<{ entries: FileEntry[]; truncated: boolean }> {
      try {
        const folder = await resolvePath(root, path);
        const names = readdirSync(native(folder), "buffer");
        const prefix = path.endsWith("/") ? path : `${path}/`;
        const entries: FileEntry[] = [];
        const pause = slices(setImmediate, signal);
        for (const bytes of names.slice(0, limits.listEntries)) {
          const pausing = pause();
          if (pausing) await pausing;
          const name = bytesToPath(bytes);
          // Synchronous in slices: a tenth of the cost of asking a thread for each of 100,000.
          const stats = lstatSync(native(`${folder}/${name}`), { throwIfNoEntry: false });
          if (!stats) continue;
          const target = stats.isSymbolicLink()
            ? await targetTypeOf(root, prefix + name, `${folder}/${name}`)
            : undefined;
          entries.push(entryOf(prefix + name, stats, target));
        }
        return { entries, truncated: names.length > limits.listEntries };
      } catch (error) {
        throw fileError(error, path);
      }
    },

    async read(path: string): Promise<{ content: string; entry: FileEntry }> {
      try {
        await using file = await open(native(await resolvePath(root, path)), readFlags);
        const stats = await file.stat();
        refuseRead(path, stats);
        if (stats.size > limits.messageFileBytes) throw tooLarge(path, stats.size);
        const bytes = await file.readFile();
        return { content: bytes.toString("base64"), entry: entryOf(path, stats) };
      } catch (error) {
        throw fileError(error, path);
      }
    },

    async write(path: string, content: Buffer, options: WriteOptions): Promise<FileEntry> {
      if (content.length > limits.messageFileBytes) throw tooLarge(path, content.length);
      try {
        return await replace(path, options, async (file) => {
          await using handle = await open(file, "wx", 0o600);
          await handle.writeFile(content);
        });
      } catch (error) {
        throw fileError(error, path);
      }
    },

    /** As `write`, with the content written by `fill` to the new file it is given. */
    replace: (path: string, options: WriteOptions, fill: (file: string | Buffer) => Promise<void>) =>
      replace(path, options, fill).catch((error) => fail(error, path)),

    /** Opens a regular file to be streamed; the caller closes it. */
    async openFile(path: string) {
      const handle = await open(native(await resolvePath(root, path)), readFlags).catch((error) => fail(error, path));
      try {
        const stats = await handle.stat();
        refuseRead(path, stats);
        return { handle, entry: entryOf(path, stats) };
      } catch (error) {
        await handle.close();
        throw fileError(error, path);
      }
    },

    async makeDirectory(path: string, parents: boolean): Promise<FileEntry> {
      try {
        const target = await resolvePath(root, path);
        if (parents) {
          await makeFolders(target);
        } else {
          const owner = ownerIn(await stat(native(posix.dirname(target))), user());
          await mkdir(native(target));
          await chown(native(target), owner.uid, owner.gid);
        }
        return await entryAt(path);
      } catch (error) {
        throw fileError(error, path);
      }
    },

    async rename(from: string, to: string, overwrite: boolean): Promise<FileEntry> {
      const source = await resolvePath(root, from, false);
      await lstat(native(source)).catch((error) => fail(error, from, "from"));
      try {
        const { target, old } = await prepareTarget(to, source, overwrite);
        if (old?.isDirectory()) await rm(native(target), { recursive: true });
        await rename(native(source), native(target)).catch(async (error: NodeJS.ErrnoException) => {
          if (error.code !== "EXDEV") throw error;
          const { uid, gid } = await lstat(native(source));
          await copyWhole(() => copyTree(source, target, { uid, gid }), target);
          await rm(native(source), { recursive: true });
        });
        return await entryAt(to);
      } catch (error) {
        throw fileError(error, to, "to");
      }
    },

    async copy(from: string, to: string, overwrite: boolean): Promise<FileEntry> {
      const source = await resolvePath(root, from, false);
      await lstat(native(source)).catch((error) => fail(error, from, "from"));
      try {
        const { target, folder, old } = await prepareTarget(to, source, overwrite);
        if (old) await rm(native(target), { recursive: true });
        await copyWhole(() => copyTree(source, target, ownerIn(folder, user())), target);
        return await entryAt(to);
      } catch (error) {
        throw fileError(error, to, "to");
      }
    },

    async remove(path: string, recursive: boolean): Promise<void> {
      try {
        const target = await resolvePath(root, path, false);
        if (target === root || target === "/") throw new DormouseError("invalid_argument", "path: / cannot be removed");
        const stats = await lstat(native(target));
        if (!stats.isDirectory()) await unlink(native(target));
        else if (recursive) await rm(native(target), { recursive: true });
        else await rmdir(native(target));
      } catch (error) {
        throw fileError(error, path);
      }
    },
  };
}

/** Not blocking, so that opening a pipe with nobody at its other end does not hold a thread for ever. */
const readFlags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

function fail(error: unknown, path: string, field?: string): never {
  throw fileError(error, path, field);
}

async function statOrNothing(path: string): Promise<Stats | undefined> {
  return lstat(native(path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

function refuseRead(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const what = { directory: "a folder", symlink: "a link", other: "no regular file", file: "" }[typeOf(stats)];
  throw new DormouseError("failed_precondition", `path: ${path} is ${what}`);
}

function refuseWrite(path: string, old: Stats | undefined, options: WriteOptions): void {
  if (old?.isDirectory()) throw new DormouseError("failed_precondition", `path: ${path} is a folder`);
  if (old && options.overwrite === false) throw new DormouseError("already_exists", `path: ${path} is there already`);
  if (!old && options.create === false) throw new DormouseError("not_found", `path: ${path} is not there`);
  if (options.ifEtag === undefined) return;
  const etag = old ? etagOf(old) : null;
  if (etag === options.ifEtag) return;
  throw new DormouseError("aborted", `path: ${path} was changed by somebody else meanwhile`, { details: { etag } });
}

function tooLarge(path: string, size: number): DormouseError {
  const message = `path: ${path} has ${size} bytes; above ${limits.messageFileBytes} it goes through the file route`;
  return new DormouseError("resource_exhausted", message, { details: { size, limit: limits.messageFileBytes } });
}

/** Single files that are mounted (as /etc/hosts in containers) and files of the kernel can only be written into. */
async function inPlaceInstead(error: NodeJS.ErrnoException, from: string | Buffer, to: string | Buffer): Promise<void> {
  if (error.code !== "EBUSY" && error.code !== "EXDEV") throw error;
  await overwriteInPlace(from, to);
}

async function overwriteInPlace(from: string | Buffer, to: string | Buffer): Promise<void> {
  await using source = await open(from, "r");
  await using target = await open(to, "r+");
  await target.truncate(0);
  let position = 0;
  const buffer = Buffer.alloc(256 * 1024);
  for (;;) {
    const { bytesRead } = await source.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    await target.write(buffer, 0, bytesRead, position);
    position += bytesRead;
  }
}

/** A copy that fails half way leaves nothing behind. */
async function copyWhole(copy: () => Promise<void>, target: string): Promise<void> {
  try {
    await copy();
  } catch (error) {
    await rm(native(target), { recursive: true, force: true });
    throw error;
  }
}
