import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "@dormouse/base/node";

/** A new secret: the prefix and 256 random bits. */
export function newSecret(prefix: string): string {
  return `${prefix}${randomBytes(32).toString("base64url")}`;
}

/** What is stored in a random secret's place; 256 random bits need no slow hash. */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** The secret kept in a file that only its owner reads, made at the first call. */
export async function secretFile(path: string): Promise<string> {
  const kept = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  if (kept.trim() !== "") return kept.trim();
  const secret = newSecret("");
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${secret}\n`, { mode: 0o600 });
  return secret;
}
