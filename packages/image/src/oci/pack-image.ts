import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { contentHash } from "@dormouse/base/node";
import { type BuildContext, cached } from "../cache.ts";
import { packErofs } from "../erofs.ts";
import { convertLayers, readConfig } from "./layout.ts";
import { imageArchitecture, tooLarge } from "./manifest.ts";
import { prepareTree } from "./prepare-tree.ts";
import { unpackLayout } from "./unpack.ts";
import { watched } from "./watched.ts";

/** Changes with what becomes of an image: what was made by another recipe is made anew. */
const recipe = "2";

/** What an image may cost. */
export interface PullLimits {
  /** Of the image unpacked and packed together, and of its layers as they are fetched; default 32 GiB. */
  maxBytes?: number;
  /** For all of it; default 1 h. */
  timeoutMs?: number;
  /** A registry that sends nothing for so long is asked anew; default 60 s. */
  stallMs?: number;
}

/** Of {@link PullLimits}. */
export const defaultLimits = { maxBytes: 32 * 1024 ** 3, timeoutMs: 3_600_000 } as const;

/** What {@link ImageSource.fetch} is held to. */
export interface FetchOptions {
  layout: string;
  maxBytes: number;
  timeoutMs: number;
  report(message: string, fraction?: number): void;
  signal: AbortSignal;
}

/** An image that is on its way to this host. */
export interface ImageSource {
  /** Of the artefact: where it comes from. */
  kind: "image" | "built-image";
  /** For people, in messages. */
  name: string;
  title: string;
  digest: string;
  /** Puts it into an OCI layout, in which it is called `image`, held against its digests. */
  fetch(options: FetchOptions): Promise<void>;
  /** Puts beside it what else is to be kept. */
  finish?(folder: string): Promise<void>;
}

/** Of the artefact that {@link packImage} makes of an image. */
export async function imageHash(digest: string): Promise<string> {
  if (!/^sha256:[0-9a-f]{64}$/.test(digest)) {
    throw new DormouseError("invalid_argument", `digest ${JSON.stringify(digest)} must be sha256:…`);
  }
  return await contentHash("image", recipe, imageArchitecture(), digest);
}

/** The file in the artefact's folder that machines have as their root. */
export const imageFile = "image.erofs";

/**
 * Unpacks an image and packs it as a machine's read-only root. Nothing in it is run. It is cached by its digest, and
 * different images are made side by side.
 * @returns the artefact's folder.
 * @throws DormouseError whatever fetching throws, `failed_precondition` for what cannot be unpacked, `resource_exhausted`
 *   over a limit, `deadline_exceeded`, `cancelled`. Nothing half-made stays behind.
 */
export async function packImage(source: ImageSource, context: BuildContext & PullLimits): Promise<string> {
  const { kind: name, title } = source;
  const { maxBytes, timeoutMs } = { ...defaultLimits, ...context };
  const hash = await imageHash(source.digest);
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    using deadline = deadlineSignal(source.name, timeoutMs, context.signal);
    await pack(source, { folder, report, maxBytes, timeoutMs, signal: deadline.signal });
    await source.finish?.(folder);
  };
  return await cached({ name, hash, title, build, sideBySide: { timeoutMs } }, context);
}

async function pack(source: ImageSource, options: Omit<FetchOptions, "layout"> & { folder: string }): Promise<void> {
  const { name } = source;
  const { folder, signal, report, maxBytes, timeoutMs } = options;
  const work = join(folder, "work");
  const file = join(folder, imageFile);
  const { tree, bytes: treeBytes } = await unpackImage(source, { ...options, work });
  await prepareTree(tree);
  report(`Packing ${name}`, 0.85);
  const check = async () => {
    const bytes = treeBytes + (await stat(file).catch(() => ({ size: 0 }))).size;
    if (bytes > maxBytes) throw tooLarge(name, bytes, maxBytes);
  };
  await watched({ intervalMs: 1000, check, signal }, (both) =>
    packErofs({ tree, file, keepTimes: true, timeoutMs }, both),
  );
  await check();
  await rm(work, { recursive: true });
}

/**
 * Fetches an image and unpacks it.
 * @param options.work a folder that is made, for the caller to remove.
 * @returns its files, their size on the disk, and its configuration as it is.
 */
export async function unpackImage(
  source: Pick<ImageSource, "name" | "fetch">,
  options: Omit<FetchOptions, "layout"> & { work: string },
): Promise<{ tree: string; bytes: number; config: string }> {
  const { name } = source;
  const { work, ...own } = options;
  // Nobody else on this host may enter: there are programs in it that belong to root and run as their owner.
  await mkdir(work, { mode: 0o700 });
  const layout = join(work, "layout");
  await source.fetch({ ...own, layout });
  await convertLayers(layout, { name, ...own });
  const config = await readConfig(layout, name);
  const bytes = await unpackLayout({ ...own, name, folder: work });
  await rm(layout, { recursive: true });
  own.signal.throwIfAborted();
  return { tree: join(work, "tree"), bytes, config };
}

/** A signal that ends with the caller's, or when it took too long. */
export function deadlineSignal(name: string, timeoutMs: number, signal: AbortSignal | undefined) {
  const stop = new AbortController();
  const error = new DormouseError("deadline_exceeded", `pulling ${name} took longer than ${timeoutMs} ms`);
  const timer = setTimeout(() => stop.abort(error), timeoutMs);
  return {
    signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
