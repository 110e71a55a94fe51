import { rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "@dormouse/base/node";
import { type BuildContext, cached } from "../cache.ts";
import { download } from "./download.ts";
import { writeLayout } from "./layout.ts";
import { checkImageManifest, type ImageConfig } from "./manifest.ts";
import {
  deadlineSignal,
  defaultLimits,
  type FetchOptions,
  imageFile,
  imageHash,
  type PullLimits,
  packImage,
  unpackImage,
} from "./pack-image.ts";
import { parseImageReference } from "./reference.ts";
import { type ResolvedImage, readManifest } from "./resolve-image.ts";
import type { RegistryOptions } from "./skopeo.ts";

/** A user image (`vdb`) that came from a registry. */
export interface PulledImage {
  hash: string;
  /** The EROFS file. */
  path: string;
  config: ImageConfig;
}

type PullContext = BuildContext & RegistryOptions & PullLimits;

/**
 * Brings an image to this host: fetched, held against its digests, unpacked and packed as a machine's
 * read-only root; see {@link packImage}.
 *
 * Whoever may name a digest gets what the cache has under it, without being asked for credentials again:
 * {@link resolveImage} is where a registry decides who may read.
 * @throws DormouseError as {@link resolveImage} and {@link packImage} do, `data_loss` for what is not what its digest
 *   says.
 */
export async function pullImage(image: ResolvedImage, context: PullContext = {}): Promise<PulledImage> {
  const { reference: name, digest, config } = image;
  const fetch = (options: FetchOptions) => fetchLayout(image, { ...context, ...options });
  const title = `Pulling the image ${name}`;
  const folder = await packImage({ kind: "image", name, title, digest, fetch }, context);
  return { hash: await imageHash(digest), path: join(folder, imageFile), config };
}

/**
 * Brings an image to this host for machines to unpack: an OCI layout, in which it is called `image`, of one plain layer. An
 * emulated processor takes minutes to decompress what a host does in seconds, and storage without overlays copies the whole
 * image for each layer. It is cached by its digest, as {@link pullImage}'s is.
 * @returns the layout's folder.
 */
export async function pullFlattened(image: ResolvedImage, context: PullContext = {}): Promise<string> {
  const { reference: name, digest } = image;
  const { maxBytes, timeoutMs } = { ...defaultLimits, ...context };
  const build = async (folder: string, report: FetchOptions["report"]) => {
    using deadline = deadlineSignal(name, timeoutMs, context.signal);
    const { signal } = deadline;
    const fetch = (options: FetchOptions) => fetchLayout(image, { ...context, ...options });
    const work = join(folder, "work");
    const unpacked = await unpackImage({ name, fetch }, { work, maxBytes, timeoutMs, report, signal });
    report(`Making one layer of ${name}`, 0.85);
    await writeFlatLayout({ folder, ...unpacked, timeoutMs, signal });
    await rm(work, { recursive: true });
  };
  const title = `Fetching the image ${name}`;
  const recipe = { name: "flat-image", hash: await imageHash(digest), title, build, sideBySide: { timeoutMs } };
  return join(await cached(recipe, context), "layout");
}

/** Makes a layout of one plain layer of a tree, in a folder's `layout`. */
export async function writeFlatLayout(options: {
  folder: string;
  tree: string;
  config: string;
  timeoutMs: number;
  signal: AbortSignal;
}): Promise<void> {
  const { folder, tree, config, timeoutMs, signal } = options;
  const layer = join(folder, "layer.tar");
  const flags = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-C", tree, "."];
  await run("tar", ["-cf", layer, ...flags], { timeoutMs, signal });
  await writeLayout(join(folder, "layout"), layer, JSON.parse(config));
}

async function fetchLayout(
  image: ResolvedImage,
  options: RegistryOptions & PullLimits & Omit<FetchOptions, "signal"> & { signal?: AbortSignal },
): Promise<void> {
  const { reference: name, digest } = image;
  const { repository, registry } = parseImageReference(name);
  options.report(`Looking ${name} up`);
  const { manifest, manifestDigest } = await readManifest({ repository, registry, digest }, name, options);
  const expectedBytes = checkImageManifest(manifest, name, options.maxBytes);
  const place = { repository, registry, digest: manifestDigest };
  await download({ ...options, name, place, expectedBytes });
}
