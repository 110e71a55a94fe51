import { lstatSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";
import { lstat, readlink, realpath } from "node:fs/promises";
import { posix } from "node:path";
import { DormouseError, type ErrorCode } from "@dormouse/base";
import type { FileEntry } from "@dormouse/contract/guest-schemas";
import { bytesToPath, pathToBytes } from "../byte-path.ts";

/** As many links as the kernel follows in one path. */
const maxLinks = 40;

/** A path as Node's file functions take it: text where it is text, else its bytes. */
export function native(path: string): string | Buffer {
  return path.isWellFormed() ? path : pathToBytes(path);
}

/**
 * Where a path of the user lies for the agent: under `root`, wherever links and `..` lead, as
 * a process inside would see it. What does not exist yet is appended as it is written.
 * @param followLast whether a link at the path's end is followed.
 */
export async function resolvePath(root: string, path: string, followLast = true): Promise<string> {
  const plain = path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
  if (!followLast && plain !== "/") {
    const name = posix.basename(plain);
    if (name !== ".." && name !== ".") {
      const parent = await resolvePath(root, posix.dirname(plain));
      return parent === "/" ? `/${name}` : `${parent}/${name}`;
    }
  }
  // Most paths hold no link at all: then one question to the kernel says so.
  if (posix.normalize(plain) === plain) {
    const direct = plain === "/" ? root || "/" : root + plain;
    const real = await realpath(native(direct), "buffer").catch(() => undefined);
    if (real && bytesToPath(real) === direct) return direct;
  }
  return walk(root, plain);
}

async function walk(root: string, path: string): Promise<string> {
  const found: string[] = [];
  const left = path.split("/").reverse();
  let links = 0;
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      found.pop();
      continue;
    }
    const here = `${root}/${[...found, part].join("/")}`;
    const target = await readlink(native(here), "buffer").catch((error: NodeJS.ErrnoException) => {
      // No link, or nothing there: what is to be created may be named, and the call itself reports the rest.
      if (error.code === "EINVAL" || error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
      throw error;
    });
    if (!target) {
      found.push(part);
      continue;
    }
    if (++links > maxLinks) {
      throw new DormouseError(
        "failed_precondition",
        `path: ${path} leads through more than ${maxLinks} symbolic links`,
      );
    }
    const text = bytesToPath(target);
    if (text.startsWith("/")) found.length = 0;
    left.push(...text.split("/").reverse());
  }
  return found.length > 0 ? `${root}/${found.join("/")}` : root || "/";
}

/** Type of what a stat describes. */
export function typeOf(stats: Stats): FileEntry["type"] {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  return stats.isSymbolicLink() ? "symlink" : "other";
}

/** Changes whenever the content may have. */
export function etagOf(stats: Stats): string {
  const part = (value: number) => Math.round(value).toString(36);
  return `${part(stats.mtimeMs * 1000)}-${part(stats.ctimeMs * 1000)}-${part(stats.size)}-${part(stats.ino)}`;
}

/** The contract's entry for what lies at `path`. */
export function entryOf(path: string, stats: Stats, targetType?: FileEntry["type"]): FileEntry {
  return {
    path,
    name: posix.basename(path),
    type: typeOf(stats),
    ...(targetType ? { targetType } : {}),
    size: stats.size,
    modifiedMs: stats.mtimeMs,
    createdMs: stats.birthtimeMs,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    etag: etagOf(stats),
  };
}

/**
 * Type of what a link leads to inside the root; undefined where it leads nowhere.
 * @param path the link, as the user names it.
 * @param place the same, as the agent does.
 */
export async function targetTypeOf(root: string, path: string, place: string): Promise<FileEntry["type"] | undefined> {
  // Nearly every link leads to its target in one step or through relative ones, where no walk is needed.
  try {
    const target = bytesToPath(readlinkSync(native(place), "buffer"));
    const there = target.startsWith("/") ? root + target : `${posix.dirname(place)}/${target}`;
    if (!target.includes("..")) {
      const stats = statSync(native(there), { throwIfNoEntry: false });
      if (stats) return typeOf(stats);
    }
  } catch {
    // It may still lead somewhere by the long way.
  }
  return walkedTypeOf(root, path);
}

async function walkedTypeOf(root: string, path: string): Promise<FileEntry["type"] | undefined> {
  try {
    const type = typeOf(await lstat(native(await resolvePath(root, path))));
    return type === "symlink" ? undefined : type;
  } catch {
    return undefined;
  }
}

/** Owner for something new in a folder. */
export interface Owner {
  uid: number;
  gid: number;
}

/**
 * The agent works with root's rights, as the user can by sudo. What it makes belongs to the user
 * where the user could have made it, and elsewhere to whom the folder belongs.
 */
export function ownerIn(folder: Stats, user: Owner): Owner {
  const mayWrite =
    folder.uid === user.uid || (folder.mode & 0o002) !== 0 || (folder.gid === user.gid && (folder.mode & 0o020) !== 0);
  return mayWrite ? user : { uid: folder.uid, gid: folder.gid };
}

/** A user of the machine, by name, from its own accounts; root where there is none of that name. */
export function accountLookup(root: string, nameOf: () => string): () => Owner {
  let known: { name: string; mtimeMs: number; owner: Owner } | undefined;
  return () => {
    try {
      const name = nameOf();
      const { mtimeMs } = lstatSync(`${root}/etc/passwd`);
      if (known?.mtimeMs === mtimeMs && known.name === name) return known.owner;
      const line = readFileSync(`${root}/etc/passwd`, "latin1")
        .split("\n")
        .find((one) => one.startsWith(`${name}:`));
      const fields = line?.split(":") ?? [];
      const owner = { uid: Number(fields[2] ?? 0), gid: Number(fields[3] ?? 0) };
      known = { name, mtimeMs, owner };
      return owner;
    } catch {
      // An image without accounts runs everything as root.
      return { uid: 0, gid: 0 };
    }
  };
}

const reasons: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ["not_found", "is not there"],
  ENOTDIR: ["not_found", "goes through something that is no folder"],
  EISDIR: ["failed_precondition", "is a folder"],
  EEXIST: ["already_exists", "is there already"],
  ENOTEMPTY: ["failed_precondition", "is a folder that is not empty"],
  EACCES: ["permission_denied", "may not be accessed"],
  EPERM: ["permission_denied", "may not be changed"],
  EROFS: ["permission_denied", "lies on a file system that is read-only"],
  ENOSPC: ["resource_exhausted", "could not be written: the machine's disk is full"],
  EDQUOT: ["resource_exhausted", "could not be written: the quota is used up"],
  ENAMETOOLONG: ["invalid_argument", "holds a name of more than 255 bytes"],
  ELOOP: ["failed_precondition", "leads through too many symbolic links"],
  EBUSY: ["failed_precondition", "is in use by the machine"],
  EXDEV: ["failed_precondition", "lies on another file system"],
  EINVAL: ["invalid_argument", "is not possible there"],
  ETXTBSY: ["failed_precondition", "is a program that runs"],
};

/** Makes one clear line of what a file function threw: the field, the path, and why. */
export function fileError(error: unknown, path: string, field = "path"): DormouseError {
  if (error instanceof DormouseError) return error;
  if ((error as Error).name === "AbortError") return DormouseError.from(error);
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const [kind, why] = reasons[code] ?? ["internal", `failed with ${code || String(error)}`];
  return new DormouseError(kind, `${field}: ${path.toWellFormed()} ${why}`, { details: { errno: code }, cause: error });
}
