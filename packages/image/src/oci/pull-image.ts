import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { contentHash } from "@dormouse/base/node";
import { type BuildContext, cached } from "../cache.ts";
import { packErofs } from "../erofs.ts";
import { download } from "./download.ts";
import { convertLayers } from "./layout.ts";
import { checkImageManifest, type ImageConfig, imageArchitecture, tooLarge } from "./manifest.ts";
import { prepareTree } from "./prepare-tree.ts";
import { parseImageReference } from "./reference.ts";
import { type ResolvedImage, readManifest } from "./resolve-image.ts";
import type { RegistryOptions } from "./skopeo.ts";
import { unpackLayout } from "./unpack.ts";
import { watched } from "./watched.ts";

/** Changes with what becomes of an image: what was made by another recipe is made anew. */
const recipe = "2";

const defaultMaxBytes = 32 * 1024 ** 3;
const defaultTimeoutMs = 3_600_000;

/** What a pull may cost. */
export interface PullLimits {
  /** Of the image unpacked and packed together, and of its layers as they are fetched; default 32 GiB. */
  maxBytes?: number;
  /** For all of it; default 1 h. */
  timeoutMs?: number;
  /** A registry that sends nothing for so long is asked anew; default 60 s. */
  stallMs?: number;
}

/** A user image (`vdb`) that came from a registry. */
export interface PulledImage {
  hash: string;
  /** The EROFS file. */
  path: string;
  config: ImageConfig;
}

/**
 * Brings an image to this host: fetched, held against its digests, unpacked and packed as a machine's
 * read-only root. Nothing in it is run. It is cached by its digest, and different images are pulled side by side.
 *
 * Whoever may name a digest gets what the cache has under it, without being asked for credentials again:
 * {@link resolveImage} is where a registry decides who may read.
 * @throws DormouseError as {@link resolveImage} does, `data_loss` for what is not what its digest says,
 *   `resource_exhausted` over a limit, `deadline_exceeded`, `cancelled`. Nothing half-made stays behind.
 */
export async function pullImage(
  image: ResolvedImage,
  context: BuildContext & RegistryOptions & PullLimits = {},
): Promise<PulledImage> {
  const { repository, registry } = parseImageReference(image.reference);
  const place = { repository, registry, digest: image.digest };
  if (!/^sha256:[0-9a-f]{64}$/.test(image.digest)) {
    throw new DormouseError("invalid_argument", `digest ${JSON.stringify(image.digest)} must be sha256:…`);
  }
  const timeoutMs = context.timeoutMs ?? defaultTimeoutMs;
  const hash = await contentHash("image", recipe, imageArchitecture(), image.digest);
  const build = async (folder: string, report: (message: string, fraction?: number) => void) => {
    using deadline = deadlineSignal(image.reference, timeoutMs, context.signal);
    await buildImage({ ...context, place, name: image.reference, folder, report, timeoutMs, signal: deadline.signal });
  };
  const title = `Pulling the image ${image.reference}`;
  const folder = await cached({ name: "image", hash, title, build, sideBySide: { timeoutMs } }, context);
  return { hash, path: join(folder, "image.erofs"), config: image.config };
}

interface Build extends RegistryOptions, PullLimits {
  name: string;
  place: { repository: string; registry: string; digest: string };
  folder: string;
  timeoutMs: number;
  report(message: string, fraction?: number): void;
  signal: AbortSignal;
}

async function buildImage(options: Build): Promise<void> {
  const { name, folder, signal, report } = options;
  const maxBytes = options.maxBytes ?? defaultMaxBytes;
  // Nobody else on this host may enter: there are programs in it that belong to root and run as their owner.
  const work = join(folder, "work");
  await mkdir(work, { mode: 0o700 });
  const [layout, tree, file] = [join(work, "layout"), join(work, "tree"), join(folder, "image.erofs")];
  report(`Looking ${name} up`);
  const { manifest, manifestDigest } = await readManifest(options.place, name, options);
  const expectedBytes = checkImageManifest(manifest, name, maxBytes);
  const place = { ...options.place, digest: manifestDigest };
  await download({ ...options, place, layout, expectedBytes, maxBytes });
  await convertLayers(layout, { name, maxBytes, signal });
  const treeBytes = await unpackLayout({ ...options, folder: work, maxBytes });
  await rm(layout, { recursive: true });
  signal.throwIfAborted();
  await prepareTree(tree);
  report(`Packing ${name}`, 0.85);
  const check = async () => {
    const bytes = treeBytes + (await stat(file).catch(() => ({ size: 0 }))).size;
    if (bytes > maxBytes) throw tooLarge(name, bytes, maxBytes);
  };
  await watched({ intervalMs: 1000, check, signal }, (both) =>
    packErofs({ tree, file, keepTimes: true, timeoutMs: options.timeoutMs }, both),
  );
  await check();
  await rm(work, { recursive: true });
}

function deadlineSignal(name: string, timeoutMs: number, signal: AbortSignal | undefined) {
  const stop = new AbortController();
  const error = new DormouseError("deadline_exceeded", `pulling ${name} took longer than ${timeoutMs} ms`);
  const timer = setTimeout(() => stop.abort(error), timeoutMs);
  return {
    signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
