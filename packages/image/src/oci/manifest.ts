import { createHash } from "node:crypto";
import { DormouseError, formatBytes } from "@dormouse/base";
import * as z from "zod";

/** Docker's own limit is 125, of overlayfs; other builders make more. */
const maxLayers = 256;

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const descriptor = z.object({
  mediaType: z.string(),
  digest,
  size: z.number().int().nonnegative(),
  urls: z.array(z.string()).nullish(),
});
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptor,
  layers: z.array(descriptor),
});
const indexSchema = z.object({
  schemaVersion: z.literal(2),
  manifests: z.array(
    descriptor.extend({
      platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().nullish() }).nullish(),
    }),
  ),
});
const configSchema = z.object({
  os: z.string().nullish(),
  architecture: z.string().nullish(),
  config: z
    .object({
      User: z.string().nullish(),
      Env: z.array(z.string()).nullish(),
      WorkingDir: z.string().nullish(),
      Entrypoint: z.array(z.string()).nullish(),
      Cmd: z.array(z.string()).nullish(),
      Labels: z.record(z.string(), z.string()).nullish(),
    })
    .nullish(),
});

/** A manifest of one image or artifact. https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md */
export type Manifest = z.infer<typeof manifestSchema>;
/** The manifests of one image for several platforms, "list" in Docker's words. */
export type ManifestIndex = z.infer<typeof indexSchema>;

/** What an image says about the processes that are started from it. */
export interface ImageConfig {
  /** `USER`: name or number, with or without group; empty is root. */
  user: string;
  env: Record<string, string>;
  /** Empty when the image names none. */
  workingDir: string;
  entrypoint: string[];
  cmd: string[];
  labels: Record<string, string>;
}

const layerTypes =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(?:\.gzip|\.zstd)?)$/;
const configTypes = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/** Registries' names of this machine's processors. */
export function imageArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

/** `sha256:…` of a manifest as the registry sent it. */
export function digestOf(bytes: string | Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/**
 * Reads what a registry has under a tag or digest.
 * @throws DormouseError `failed_precondition` for Docker's manifests of before 2016 and for what is no manifest.
 */
export function parseManifest(text: string, name: string): Manifest | ManifestIndex {
  const json = parseJson(text, name);
  const index = indexSchema.safeParse(json);
  if (index.success) return index.data;
  const manifest = manifestSchema.safeParse(json);
  if (manifest.success) return manifest.data;
  throw new DormouseError("failed_precondition", `${name} has no manifest of OCI or of Docker's second version`, {
    cause: manifest.error,
  });
}

/**
 * Picks the manifest for Linux on this architecture out of a list.
 * @throws DormouseError `failed_precondition` naming the platforms that there are.
 */
export function chooseManifest(index: ManifestIndex, name: string, architecture = imageArchitecture()): string {
  const fitting = index.manifests.filter(
    ({ platform }) => platform?.os === "linux" && platform.architecture === architecture,
  );
  // Every processor runs the plain variant; of arm64 there is only v8 in practice.
  const chosen = fitting.find(({ platform }) => [undefined, null, "", "v8"].includes(platform?.variant)) ?? fitting[0];
  if (chosen) return chosen.digest;
  const offered = index.manifests
    .flatMap(({ platform }) => (platform ? [`${platform.os}/${platform.architecture}`] : []))
    .filter((platform) => platform !== "unknown/unknown");
  throw wrongPlatform(name, architecture, [...new Set(offered)].join(", ") || "nothing");
}

/**
 * Refuses what cannot become a machine's root, or is too large to.
 * @returns how many bytes are to be fetched.
 * @throws DormouseError `failed_precondition` or, over a limit, `resource_exhausted`.
 */
export function checkImageManifest(manifest: Manifest, name: string, maxBytes: number): number {
  checkIsImage(manifest, name);
  // Layers "with URLs" are fetched from wherever the image says; no Linux image has them.
  const odd = manifest.layers.find((layer) => !layerTypes.test(layer.mediaType) || (layer.urls?.length ?? 0) > 0);
  if (odd) {
    const what = odd.urls?.length ? "from outside of the registry" : `of type ${JSON.stringify(odd.mediaType)}`;
    throw new DormouseError("failed_precondition", `${name} has a layer ${what.slice(0, 150)}, which cannot be used`);
  }
  if (manifest.layers.length > maxLayers) {
    const text = `${name} has ${manifest.layers.length} layers, of at most ${maxLayers}`;
    throw new DormouseError("resource_exhausted", text, { details: { limit: maxLayers } });
  }
  const bytes = [manifest.config, ...manifest.layers].reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxBytes) throw tooLarge(name, bytes, maxBytes);
  return bytes;
}

/** @throws DormouseError `failed_precondition` for other artifacts that registries keep, such as features. */
export function checkIsImage(manifest: Manifest, name: string): void {
  if (configTypes.includes(manifest.config.mediaType)) return;
  const type = JSON.stringify(manifest.config.mediaType.slice(0, 100));
  throw new DormouseError("failed_precondition", `${name} is no image of a container, but of type ${type}`);
}

/**
 * Reads an image's configuration blob.
 * @throws DormouseError `failed_precondition` when the image is for another platform, or has no configuration.
 */
export function parseImageConfig(text: string, name: string, architecture = imageArchitecture()): ImageConfig {
  const parsed = configSchema.safeParse(parseJson(text, name));
  if (!parsed.success) {
    throw new DormouseError("failed_precondition", `${name} has no configuration of an image`, { cause: parsed.error });
  }
  const { os, architecture: built, config } = parsed.data;
  if ((os && os !== "linux") || (built && built !== architecture)) {
    throw wrongPlatform(name, architecture, `${os ?? "linux"}/${built ?? "unknown"}`);
  }
  return {
    user: config?.User ?? "",
    env: Object.fromEntries((config?.Env ?? []).map(splitVariable)),
    workingDir: config?.WorkingDir ?? "",
    entrypoint: config?.Entrypoint ?? [],
    cmd: config?.Cmd ?? [],
    labels: config?.Labels ?? {},
  };
}

/** The error of every size that is over the limit. */
export function tooLarge(name: string, bytes: number, maxBytes: number): DormouseError {
  const text = `${name} is larger than ${formatBytes(maxBytes)}: ${formatBytes(bytes)} at least`;
  return new DormouseError("resource_exhausted", text, { details: { limit: maxBytes, bytes } });
}

function splitVariable(text: string): [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/** @throws DormouseError `failed_precondition` for what is no JSON. */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DormouseError("failed_precondition", `${name}: what the registry has is no JSON`, { cause: error });
  }
}

function wrongPlatform(name: string, architecture: string, offered: string): DormouseError {
  return new DormouseError(
    "failed_precondition",
    `${name} is not there for linux/${architecture}, only for ${offered.slice(0, 300)}`,
  );
}
