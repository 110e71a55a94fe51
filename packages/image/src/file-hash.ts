import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { contentHash, writeFileAtomic } from "@dormouse/base/node";

/**
 * SHA-256 of a file, 24 hex characters, remembered in `cacheDir` by the file's
 * identity (path, inode, size, times). Node's binary alone takes a tenth of a second
 * to read and hash, which is the whole budget of a start at which nothing changed.
 */
export async function fileHash(path: string, cacheDir: string): Promise<string> {
  const facts = await stat(path, { bigint: true });
  const identity = `${path}:${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeNs}:${facts.ctimeNs}`;
  const memo = join(cacheDir, "hashes", await contentHash(identity));
  const known = await readFile(memo, "utf8").catch(() => "");
  if (/^[0-9a-f]{24}$/.test(known)) return known;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const digest = hash.digest("hex").slice(0, 24);
  await mkdir(join(cacheDir, "hashes"), { recursive: true });
  await writeFileAtomic(memo, digest);
  return digest;
}
