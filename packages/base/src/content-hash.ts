import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * A short hash over texts, buffers and whole files or folders, for names of things
 * that are built from them. Folders are walked in sorted order; names count.
 * @returns 24 hex characters (96 bits) of SHA-256.
 */
export async function contentHash(...inputs: (string | Uint8Array | { path: string })[]): Promise<string> {
  const hash = createHash("sha256");
  for (const input of inputs) {
    if (typeof input === "string" || input instanceof Uint8Array) {
      hash.update(`${input.length}:`).update(input);
    } else {
      await addPath(hash, input.path, "");
    }
  }
  return hash.digest("hex").slice(0, 24);
}

async function addPath(hash: ReturnType<typeof createHash>, path: string, name: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOTDIR") return undefined;
    throw error;
  });
  if (!entries) {
    const bytes = await readFile(path);
    hash.update(`${name}:${bytes.length}:`).update(bytes);
    return;
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    await addPath(hash, join(path, entry.name), `${name}/${entry.name}`);
  }
}
