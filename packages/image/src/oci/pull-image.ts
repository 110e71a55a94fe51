import { join } from "node:path";
import { type BuildContext, cached } from "../cache.ts";
import { download } from "./download.ts";
import { checkImageManifest, type ImageConfig } from "./manifest.ts";
import { type FetchOptions, imageFile, imageHash, type PullLimits, packImage } from "./pack-image.ts";
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
 * Brings an image to this host as it is in its registry, for others to unpack: an OCI layout, in which it is called
 * `image`. It is cached by its digest, as {@link pullImage}'s is.
 * @returns the layout's folder.
 */
export async function pullLayout(image: ResolvedImage, context: PullContext = {}): Promise<string> {
  const { reference, digest } = image;
  const build = (folder: string, report: FetchOptions["report"]) =>
    fetchLayout(image, {
      ...context,
      ...{ layout: join(folder, "layout"), maxBytes: context.maxBytes ?? layoutMaxBytes, report },
      timeoutMs: context.timeoutMs ?? layoutTimeoutMs,
    });
  const title = `Fetching the image ${reference}`;
  const hash = await imageHash(digest);
  const recipe = { name: "image-layout", hash, title, build, sideBySide: { timeoutMs: layoutTimeoutMs } };
  return join(await cached(recipe, context), "layout");
}

const layoutMaxBytes = 16 * 1024 ** 3;
const layoutTimeoutMs = 3_600_000;

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
