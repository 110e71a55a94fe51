import { mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";

/** Where a platform is and the key it takes. */
export interface Credentials {
  /** Base address, e.g. `http://127.0.0.1:7070`. */
  url: string;
  apiKey: string;
  /** The organisation that is meant when none is named; default: the person's own. */
  organisation?: string | undefined;
}

/** `$XDG_CONFIG_HOME/dormouse/credentials.json`, by default below `~/.config`. */
export function credentialsFile(): string {
  const base = process.env.XDG_CONFIG_HOME || join(homedir(), ".config");
  return join(base, "dormouse", "credentials.json");
}

/**
 * Writes the credentials for this user's later calls, readable by them alone (0600). The organisation that was saved stays when
 * none is given and the address is the same.
 * @returns the file's path.
 */
export async function saveCredentials(credentials: Credentials, file = credentialsFile()): Promise<string> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const { url, apiKey } = credentials;
  // What cannot be read is replaced.
  const saved = await readCredentials(file).catch(() => undefined);
  const organisation = credentials.organisation ?? (saved?.url === url ? saved.organisation : undefined);
  await writeFileAtomic(file, `${JSON.stringify({ url, apiKey, organisation }, null, 2)}\n`, { mode: 0o600 });
  return file;
}

/**
 * The saved credentials, or undefined when none were saved.
 * @throws DormouseError `failed_precondition` naming the file when it cannot be used.
 */
export async function readCredentials(file = credentialsFile()): Promise<Credentials | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw DormouseError.from(error);
  }
  // The text is not repeated in the error: it may hold the key.
  const value = parse(text);
  if (typeof value?.url !== "string" || typeof value.apiKey !== "string") {
    throw new DormouseError(
      "failed_precondition",
      `${file} does not hold {"url": "…", "apiKey": "…"}; write it anew with \`dormouse login\``,
    );
  }
  const { url, apiKey, organisation } = value;
  return { url, apiKey, ...(typeof organisation === "string" && { organisation }) };
}

/** What the environment says: DORMOUSE_URL, DORMOUSE_API_KEY and DORMOUSE_ORG. */
export function environmentCredentials(): Partial<Credentials> {
  const { DORMOUSE_URL, DORMOUSE_API_KEY, DORMOUSE_ORG } = process.env;
  return {
    url: DORMOUSE_URL || undefined,
    apiKey: DORMOUSE_API_KEY || undefined,
    organisation: DORMOUSE_ORG || undefined,
  };
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // Broken JSON and JSON of another shape are one and the same to the caller.
    return undefined;
  }
}
