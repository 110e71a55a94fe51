import { posix } from "node:path";
import type { Readable } from "node:stream";
import { DormouseError } from "@dormouse/base";
import { limits } from "@dormouse/contract";
import { type Entry, openPromise, type ZipFile } from "yauzl";

/** An extension's package, open. Nothing of it is ever unpacked to disk: files are read out of it. */
export interface Vsix extends Disposable {
  /**
   * A file of the extension by its path below the extension's folder; undefined when there is none.
   * The stream fails when the file is larger than the package says.
   */
  file(path: string): Promise<{ bytes: number; content: Readable } | undefined>;
}

/** The folder of a package in which the extension is; beside it are notes of the gallery. */
const folder = "extension/";
/** Unix file types in the upper half of a zip entry's external attributes (`st_mode`). */
const fileTypeMask = 0o170000;
const links = 0o120000;
const madeByUnix = 3;

/**
 * Opens a package and looks through its table of contents.
 * @throws DormouseError `invalid_argument` for what is no package, or one that says it holds links, encrypted files, two
 *   files of one name or names that lead out of it; `resource_exhausted` beyond the limits on extensions.
 */
export async function openVsix(path: string): Promise<Vsix> {
  const options = { lazyEntries: true, autoClose: false, strictFileNames: true };
  const zip = await openPromise(path, options).catch((cause: unknown) => {
    throw broken("it is no zip archive", cause);
  });
  try {
    const entries = await readEntries(zip);
    return {
      async file(name) {
        const entry = entries.get(folder + name);
        if (!entry) return undefined;
        return { bytes: entry.uncompressedSize, content: await zip.openReadStreamPromise(entry) };
      },
      [Symbol.dispose]: () => zip.close(),
    };
  } catch (error) {
    zip.close();
    throw error;
  }
}

/** A small file of an extension as text. @throws DormouseError `resource_exhausted` when it is larger than `limitBytes`. */
export async function readText(vsix: Vsix, path: string, limitBytes: number): Promise<string | undefined> {
  const found = await vsix.file(path);
  if (!found) return undefined;
  if (found.bytes > limitBytes) {
    found.content.destroy();
    throw tooMuch(`its ${path} has ${found.bytes} bytes`, `${limitBytes}`);
  }
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of found.content) chunks.push(chunk as Buffer);
  } catch (cause) {
    throw broken(`its ${path} cannot be read`, cause);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function readEntries(zip: ZipFile): Promise<Map<string, Entry>> {
  if (zip.entryCount > limits.extensionFiles) {
    throw tooMuch(`it holds ${zip.entryCount} files`, `${limits.extensionFiles}`);
  }
  const entries = new Map<string, Entry>();
  let unpackedBytes = 0;
  try {
    for await (const entry of zip.eachEntry()) {
      const name = entry.fileName;
      check(entry);
      if (name.endsWith("/")) continue;
      if (entries.has(name)) throw broken(`it holds ${show(name)} twice`);
      unpackedBytes += entry.uncompressedSize;
      if (unpackedBytes > limits.extensionUnpackedBytes) {
        throw tooMuch("it unpacks to more", `${limits.extensionUnpackedBytes} bytes`);
      }
      entries.set(name, entry);
    }
  } catch (error) {
    // The archive's own reader refuses names that lead out of it, and sizes that contradict each other.
    throw error instanceof DormouseError
      ? error
      : broken(error instanceof Error ? error.message : "it is damaged", error);
  }
  return entries;
}

function check(entry: Entry): void {
  const name = entry.fileName;
  if (posix.normalize(name) !== name || name.startsWith("/") || name.includes("\0")) {
    throw broken(`it holds a file named ${show(name)}, which leads elsewhere`);
  }
  if (entry.isEncrypted()) throw broken(`${show(name)} in it is encrypted`);
  const type = (entry.externalFileAttributes >>> 16) & fileTypeMask;
  if (entry.versionMadeBy >>> 8 === madeByUnix && type === links) throw broken(`${show(name)} in it is a link`);
  if (entry.uncompressedSize > limits.extensionFileBytes) {
    throw tooMuch(`${show(name)} in it has ${entry.uncompressedSize} bytes`, `${limits.extensionFileBytes}`);
  }
}

function show(name: string): string {
  return JSON.stringify(name.slice(0, 200));
}

function broken(what: string, cause?: unknown): DormouseError {
  return new DormouseError("invalid_argument", `this is no extension that can be installed: ${what}`, { cause });
}

function tooMuch(what: string, limit: string): DormouseError {
  return new DormouseError("resource_exhausted", `this extension is too large: ${what}, and ${limit} is the most`);
}
