import { DormouseError } from "@dormouse/base";
import {
  checkIsImage,
  chooseManifest,
  digestOf,
  type ImageConfig,
  type Manifest,
  parseImageConfig,
  parseManifest,
} from "./manifest.ts";
import { type ImageReference, parseImageReference } from "./reference.ts";
import { inspect, type RegistryOptions } from "./skopeo.ts";

/** What an image reference means at one instant. */
export interface ResolvedImage {
  /** As it was given. */
  reference: string;
  /** Of the manifest, or of the list of manifests: `REPOSITORY@digest` is the same image for good. */
  digest: string;
  /** For Linux on this machine's architecture. */
  config: ImageConfig;
}

/**
 * Looks up what an image is now, with a few small requests; nothing is kept.
 * @param reference as Docker has it: `debian:12`, `registry.example/team/app@sha256:…`.
 * @throws DormouseError `invalid_argument` for a reference that is none, `not_found`, `unauthenticated` or
 *   `permission_denied` as the registry says, `unavailable` when it cannot be reached, `failed_precondition`
 *   for what is no image, or not one for this platform.
 */
export async function resolveImage(
  reference: string,
  options: RegistryOptions & { signal?: AbortSignal } = {},
): Promise<ResolvedImage> {
  const place = parseImageReference(reference);
  const { digest, manifestDigest, manifest } = await readManifest(place, reference, options);
  checkIsImage(manifest, reference);
  const text = await inspect("config", { ...place, digest: manifestDigest }, options);
  return { reference, digest, config: parseImageConfig(text, reference) };
}

/** The manifest for this platform, its digest, and that of what the reference leads to. */
export async function readManifest(
  place: ImageReference,
  name: string,
  options: RegistryOptions & { signal?: AbortSignal },
): Promise<{ digest: string; manifestDigest: string; manifest: Manifest }> {
  const text = await inspect("raw", place, options);
  const digest = digestOf(text);
  const top = parseManifest(text, name);
  if (!("manifests" in top)) return { digest, manifestDigest: digest, manifest: top };
  const manifestDigest = chooseManifest(top, name);
  const inner = parseManifest(await inspect("raw", { ...place, digest: manifestDigest }, options), name);
  if ("manifests" in inner) {
    throw new DormouseError("failed_precondition", `${name} is a list within a list, which cannot be used`);
  }
  return { digest, manifestDigest, manifest: inner };
}
