import { DormouseError } from "@dormouse/base";

/** What every operation takes. */
export interface StoreOptions {
  signal?: AbortSignal;
}

/** How an object is put. */
export interface PutOptions extends StoreOptions {
  /** Refuses with `already_exists` instead of replacing what is there. */
  ifAbsent?: boolean;
}

/** Which part of an object is read: from `offset` (default 0) at most `length` bytes (default: to its end). */
export interface GetOptions extends StoreOptions {
  offset?: number;
  length?: number;
}

/** What is known about an object without reading it. */
export interface ObjectFacts {
  bytes: number;
  /** When it was last put, in milliseconds since the Unix epoch, by the store's clock. */
  modifiedMs: number;
}

/** An object's content: as a whole, or in pieces whose number is not known yet. */
export type ObjectBody = Uint8Array | AsyncIterable<Uint8Array>;

/**
 * Where packs and manifests lie: named, immutable or wholly replaced objects. Every
 * implementation is held against `objectStoreSuite`. Keys are as {@link assertKey} says.
 *
 * All errors are {@link DormouseError}s that name the key and the store: `not_found`,
 * `already_exists`, `permission_denied`, `resource_exhausted` (no room), `unavailable`
 * (another attempt may help), `deadline_exceeded`, `cancelled`, `invalid_argument`.
 */
export interface ObjectStore {
  /** Where it is, for people: a folder, or address and bucket. Never a secret. */
  readonly name: string;
  /**
   * Stores an object: readers see all of it or none of it, also after a crash, and it is
   * durable when this resolves. On failure nothing of it is visible, and what stood
   * under the key still stands. Memory is bounded whatever the body's size.
   */
  put(key: string, body: ObjectBody, options?: PutOptions): Promise<void>;
  /** Bytes of an object; fewer than `length`, or none, when the object ends before. `not_found` without it. */
  get(key: string, options?: GetOptions): Promise<Buffer>;
  /** Size and age of an object, undefined without it. */
  stat(key: string, options?: StoreOptions): Promise<ObjectFacts | undefined>;
  /** All objects whose key starts with `prefix` (`""`, or whole segments ending with `/`), in ascending order of keys. */
  list(prefix: string, options?: StoreOptions): AsyncIterable<{ key: string } & ObjectFacts>;
  /** Removes objects; one that is not there is no error. May have removed some when it fails. */
  remove(keys: readonly string[], options?: StoreOptions): Promise<void>;
}

const maxKeyLength = 512;
const segment = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/**
 * Keys are segments of `A–Z a–z 0–9 . _ -` that do not begin with a dot, joined by `/`,
 * at most 512 characters: the same text is a valid path below a folder and an S3 key
 * that needs no escaping, and it cannot lead out of the folder.
 * @throws DormouseError `invalid_argument` naming the key.
 */
export function assertKey(key: string): void {
  if (key.length <= maxKeyLength && key.split("/").every((part) => segment.test(part))) return;
  throw new DormouseError(
    "invalid_argument",
    `${JSON.stringify(key.slice(0, 80))} is no object key: it must be segments of A-Z a-z 0-9 . _ - joined by "/", none beginning with a dot, at most ${maxKeyLength} characters`,
  );
}

/** As {@link assertKey}, for the prefix of a listing. */
export function assertPrefix(prefix: string): void {
  if (prefix === "") return;
  if (!prefix.endsWith("/")) {
    throw new DormouseError(
      "invalid_argument",
      `prefix ${JSON.stringify(prefix.slice(0, 80))} must be "" or end with "/"`,
    );
  }
  assertKey(prefix.slice(0, -1));
}

/** @throws DormouseError `invalid_argument` unless offset and length are whole numbers from zero. */
export function assertRange(key: string, options: GetOptions): void {
  for (const name of ["offset", "length"] as const) {
    const value = options[name];
    if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) continue;
    throw new DormouseError("invalid_argument", `${name} ${value} of ${key} must be a whole number from 0`);
  }
}
