import { DormouseError } from "@dormouse/base";
import type { Credentials } from "./credentials.ts";

/** A page has no credentials file. */
export async function readCredentials(): Promise<Credentials | undefined> {
  return undefined;
}

/** A page talks to where it came from, with its session's cookie. */
export function environmentCredentials(): Partial<Credentials> {
  return { url: (globalThis as { location?: { origin: string } }).location?.origin };
}

/** A page saves no keys. */
export async function saveCredentials(): Promise<string> {
  throw new DormouseError("unimplemented", "credentials are saved by programs, not by pages");
}
