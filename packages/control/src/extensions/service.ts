import { createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createId, DormouseError, isId, KeyedLock, type Logger } from "@dormouse/base";
import { type EditorExtension, limits } from "@dormouse/contract";
import { createArchives } from "./archives.ts";
import { readManifest } from "./manifest.ts";
import type { ExtensionRow, ExtensionStore } from "./store.ts";
import { openVsix } from "./vsix.ts";

/** A package on its way in. */
export interface IncomingExtension {
  source: EditorExtension["source"];
  /** The `.vsix` file. */
  content: AsyncIterable<Uint8Array>;
  /** What the editor notes about it. */
  metadata?: Record<string, unknown> | undefined;
}

/** The editor's extensions of people. */
export interface ExtensionService extends Disposable {
  list(userId: string): Promise<EditorExtension[]>;
  /**
   * Installs a package in the place of any other version of it. On failure nothing is left of it, and what was there stays.
   * @throws DormouseError `invalid_argument`, `failed_precondition`, `resource_exhausted`: see `openVsix` and `readManifest`,
   *   or the person has as much as they may have.
   */
  install(userId: string, incoming: IncomingExtension): Promise<EditorExtension>;
  /** @throws DormouseError `not_found`, `resource_exhausted`. */
  saveMetadata(userId: string, id: string, metadata: Record<string, unknown>): Promise<EditorExtension>;
  /** @throws DormouseError `not_found`. */
  remove(userId: string, id: string): Promise<void>;
  /** A file of an extension, for whoever knows its id; undefined when there is none. */
  file(id: string, path: string): Promise<{ bytes: number; content: Readable } | undefined>;
}

const idPrefix = "ext";

/** The {@link ExtensionService} of a folder; what an interrupted installation left there is removed. */
export async function extensionService(options: {
  store: ExtensionStore;
  folder: string;
  log: Logger;
}): Promise<ExtensionService> {
  const { store, folder, log } = options;
  const locks = new KeyedLock();
  const fileOf = (id: string) => join(folder, `${id}.vsix`);
  const archives = createArchives(fileOf);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await removeLeft(folder, await store.ids());

  async function find(userId: string, id: string): Promise<EditorExtension> {
    const found = (await store.of(userId)).find((row) => row.id === id);
    if (!found) throw new DormouseError("not_found", `you have no extension ${id}`);
    return toExtension(found);
  }
  const drop = async (id: string) => {
    archives.forget(id);
    await rm(fileOf(id), { force: true });
  };

  return {
    list: async (userId) => (await store.of(userId)).map(toExtension),
    async install(userId, { source, content, metadata = {} }) {
      checkMetadata(metadata);
      const id = createId(idPrefix);
      const partial = `${fileOf(id)}.partial`;
      try {
        await pipeline(content, limited, createWriteStream(partial, { mode: 0o600 }));
        const read = await readPackage(partial);
        const { size: bytes } = await stat(partial);
        // One after the other, so that together they stay below what one person may have.
        return await locks.run(userId, async () => {
          checkQuota(await store.of(userId), { ...read, bytes });
          await rename(partial, fileOf(id));
          const former = await store.put({ id, userId, bytes, source, metadata, ...read });
          if (former !== undefined) await drop(former);
          return find(userId, id);
        });
      } catch (error) {
        await rm(partial, { force: true });
        if (!(await store.ids()).has(id)) await drop(id);
        throw error;
      }
    },
    async saveMetadata(userId, id, metadata) {
      checkMetadata(metadata);
      await store.saveMetadata(userId, id, metadata);
      return find(userId, id);
    },
    async remove(userId, id) {
      if (!(await store.remove(userId, id))) throw new DormouseError("not_found", `you have no extension ${id}`);
      await drop(id);
    },
    async file(id, path) {
      if (!isId(idPrefix, id)) return undefined;
      try {
        return await (await archives.open(id))?.file(path);
      } catch (error) {
        log.error("an extension's package cannot be read", { id, error });
        throw error;
      }
    },
    [Symbol.dispose]: () => archives[Symbol.dispose](),
  };
}

async function readPackage(path: string) {
  using vsix = await openVsix(path);
  return await readManifest(vsix);
}

/** Ends a package that is too large while it comes. */
async function* limited(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.byteLength;
    if (bytes > limits.extensionBytes) {
      throw new DormouseError(
        "resource_exhausted",
        `an extension's package has at most ${limits.extensionBytes} bytes`,
      );
    }
    yield chunk;
  }
}

function checkQuota(rows: readonly ExtensionRow[], next: { identifier: string; bytes: number }): void {
  const others = rows.filter(({ identifier }) => identifier.toLowerCase() !== next.identifier.toLowerCase());
  if (others.length >= limits.extensions) {
    throw new DormouseError(
      "resource_exhausted",
      `you have ${others.length} extensions, which is the most: remove one`,
    );
  }
  const bytes = others.reduce((sum, one) => sum + one.bytes, next.bytes);
  if (bytes > limits.extensionsBytes) {
    throw new DormouseError(
      "resource_exhausted",
      `your extensions would take ${bytes} bytes with this one, and ${limits.extensionsBytes} is the most: remove one`,
    );
  }
}

function checkMetadata(metadata: Record<string, unknown>): void {
  const { length } = JSON.stringify(metadata);
  if (length > limits.extensionMetadataBytes) {
    throw new DormouseError(
      "resource_exhausted",
      `metadata has ${length} characters, and ${limits.extensionMetadataBytes} is the most`,
    );
  }
}

function toExtension({ userId: _, installedAt, ...row }: ExtensionRow): EditorExtension {
  return { ...row, url: `/api/extensions/${row.id}`, installedAt: installedAt.toISOString() };
}

/** Removes files without a row: of installations that were interrupted, and of people who are gone. */
async function removeLeft(folder: string, ids: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(folder)) {
    const id = /^([a-z0-9-]+)\.vsix$/.exec(name)?.[1];
    if (id === undefined || !ids.has(id)) await rm(join(folder, name), { force: true });
  }
}
