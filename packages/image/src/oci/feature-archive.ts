import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { DormouseError, formatBytes } from "@dormouse/base";
import { Header, Parser, type ReadEntry } from "tar";
import { compressionOf } from "./layout.ts";

/** A file of a feature. */
export interface FeatureFile {
  /** Relative, parts joined by `/`, none of them `.` or `..`. */
  path: string;
  /** Permissions, without setuid, setgid and sticky bits. */
  mode: number;
  content: Buffer;
}

/** Of all files together. The largest features in the field are some hundred kilobytes. */
const maxUnpackedBytes = 64 * 1024 ** 2;
const maxFiles = 2000;
/** Headers and padding of so many files, with long names. */
const maxTarBytes = maxUnpackedBytes + maxFiles * 4096;

/**
 * The files of a feature's archive: tar, possibly compressed with gzip. Only files and folders may be in it.
 * @throws DormouseError `invalid_argument` naming the entry that may not be there, or for what is no archive;
 *   `resource_exhausted` over a limit.
 */
export async function readFeatureArchive(archive: Buffer, name: string): Promise<FeatureFile[]> {
  const tar = compressionOf(archive) === "gzip" ? await unzip(archive, name) : archive;
  // The parser would take what is compressed twice apart as well, without a limit.
  if (tar.length < 512 || !new Header(tar, 0).cksumValid) throw noArchive(name);
  const files = new Map<string, FeatureFile>();
  const entries = await readEntries(tar, name);
  let bytes = 0;
  for (const { path: given, type, mode, content } of entries) {
    const path = normalised(given, name);
    if (type === "Directory") continue;
    if (!["File", "OldFile", "ContiguousFile"].includes(type)) throw refused(name, given, `it is a ${type}`);
    if (path === "") throw refused(name, given, "it has no name");
    bytes += content.length;
    if (bytes > maxUnpackedBytes) throw overLimit(name, formatBytes(maxUnpackedBytes), maxUnpackedBytes);
    files.set(path, { path, mode: mode & 0o777, content });
    if (files.size > maxFiles) throw overLimit(name, `${maxFiles} files`, maxFiles);
  }
  for (const { path } of files.values()) {
    const parents = path.split("/").slice(0, -1);
    const file = parents.map((_, index) => parents.slice(0, index + 1).join("/")).find((parent) => files.has(parent));
    if (file) throw refused(name, path, `${JSON.stringify(file)} is a file`);
  }
  return [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

interface Entry {
  path: string;
  type: string;
  mode: number;
  content: Buffer;
}

function readEntries(tar: Buffer, name: string): Promise<Entry[]> {
  return new Promise((resolve, reject) => {
    const entries: Entry[] = [];
    const add = (entry: ReadEntry) => {
      const chunks: Buffer[] = [];
      const item = { path: entry.path, type: entry.type, mode: entry.mode ?? 0o644, content: Buffer.alloc(0) };
      entries.push(item);
      if (entries.length > 2 * maxFiles) reject(overLimit(name, `${maxFiles} files`, maxFiles));
      entry.on("data", (chunk: Buffer) => chunks.push(chunk));
      entry.on("end", () => {
        item.content = Buffer.concat(chunks);
      });
      entry.resume();
    };
    const parser = new Parser({
      onReadEntry: add,
      onwarn: (code, message) => {
        if (code !== "TAR_ENTRY_INFO" && code !== "TAR_ENTRY_UNSUPPORTED") reject(noArchive(name, message));
      },
    });
    // Kinds that the parser does not know, such as sparse files; they are refused by their type.
    parser.on("ignoredEntry", add);
    parser.on("error", (error) => reject(noArchive(name, error)));
    parser.on("end", () => resolve(entries));
    parser.end(tar);
  });
}

function normalised(path: string, name: string): string {
  if (path.startsWith("/")) throw refused(name, path, "its path is absolute");
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw refused(name, path, "its path has .. in it");
  if (path.includes("\0")) throw refused(name, path, "its path has a NUL in it");
  return parts.join("/");
}

async function unzip(archive: Buffer, name: string): Promise<Buffer> {
  try {
    return await promisify(gunzip)(archive, { maxOutputLength: maxTarBytes });
  } catch (error) {
    const isOver = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
    throw isOver ? overLimit(name, formatBytes(maxUnpackedBytes), maxUnpackedBytes) : noArchive(name, error);
  }
}

function refused(name: string, path: string, why: string): DormouseError {
  const entry = JSON.stringify(path.slice(0, 200));
  return new DormouseError("invalid_argument", `feature ${name}: entry ${entry} of its archive is refused: ${why}`);
}

function noArchive(name: string, cause?: unknown): DormouseError {
  return new DormouseError("invalid_argument", `feature ${name}: its archive is no whole tar file`, { cause });
}

function overLimit(name: string, limit: string, value: number): DormouseError {
  return new DormouseError("resource_exhausted", `feature ${name}: its archive holds more than ${limit}`, {
    details: { limit: value },
  });
}
