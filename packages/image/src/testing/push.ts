import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gzip as gzipCallback, zstdCompress as zstdCallback } from "node:zlib";
import { DormouseError } from "@dormouse/base";
import { imageArchitecture } from "../oci/manifest.ts";
import type { TestRegistry } from "./registry.ts";
import { type TarEntry, tarOf } from "./tar.ts";

const gzip = promisify(gzipCallback);
const zstd = promisify(zstdCallback);

const manifestType = "application/vnd.oci.image.manifest.v1+json";

/** Of a manifest in a registry. */
export interface Pushed {
  /** `host:port/repository:tag` */
  reference: string;
  digest: string;
  size: number;
}

/** A layer: its files, a tar file of any content, or one that is compressed with gzip already. */
export type TestLayer = readonly TarEntry[] | Buffer | { gzipped: Buffer; diffId: string };

/** An image's `config`, in the image specification's own words. */
export interface TestConfig {
  User?: string;
  Env?: string[];
  WorkingDir?: string;
  Entrypoint?: string[];
  Cmd?: string[];
  Labels?: Record<string, string>;
}

/** Builds an image out of layers and pushes it, with nothing but requests of the distribution specification. */
export async function pushImage(
  registry: TestRegistry,
  image: {
    repository: string;
    tag?: string;
    layers: readonly TestLayer[];
    config?: TestConfig;
    compression?: "gzip" | "zstd" | "none";
    architecture?: string;
    /** Instead of the true ones. */
    diffIds?: readonly string[];
    /** Docker's media types instead of OCI's. */
    isDocker?: boolean;
  },
): Promise<Pushed> {
  const { repository, tag = "latest", compression = "gzip", isDocker = false } = image;
  const layers = [];
  const diffIds = [];
  for (const layer of image.layers) {
    const { bytes, diffId } = await pack(layer, compression);
    layers.push({ mediaType: layerType(compression, isDocker), ...(await pushBlob(registry, repository, bytes)) });
    diffIds.push(diffId);
  }
  const config = Buffer.from(
    JSON.stringify({
      os: "linux",
      architecture: image.architecture ?? imageArchitecture(),
      config: image.config ?? {},
      rootfs: { type: "layers", diff_ids: image.diffIds ?? diffIds },
    }),
  );
  const [docker, oci] = ["application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"];
  const mediaType = isDocker ? "application/vnd.docker.distribution.manifest.v2+json" : manifestType;
  return pushManifest(registry, repository, [tag], {
    schemaVersion: 2,
    mediaType,
    config: { mediaType: isDocker ? docker : oci, ...(await pushBlob(registry, repository, config)) },
    layers,
  });
}

/** A list of images of the same repository, each for the platform it is given. */
export async function pushIndex(
  registry: TestRegistry,
  index: {
    repository: string;
    tag?: string;
    images: readonly { image: Pushed; architecture: string; os?: string }[];
  },
): Promise<Pushed> {
  const manifests = index.images.map(({ image, architecture, os = "linux" }) => ({
    mediaType: manifestType,
    digest: image.digest,
    size: image.size,
    platform: { os, architecture },
  }));
  const mediaType = "application/vnd.oci.image.index.v1+json";
  return pushManifest(registry, index.repository, [index.tag ?? "latest"], { schemaVersion: 2, mediaType, manifests });
}

/**
 * Publishes a devcontainer feature as https://containers.dev/implementors/features-distribution/ says, under its version,
 * the shorter ones and `latest`.
 * @param feature.files by path; `devcontainer-feature.json` is made from id, version and `metadata` when it is not there.
 * @returns as the reference, that of the full version.
 */
export async function pushFeature(
  registry: TestRegistry,
  feature: {
    id: string;
    /** Default `features`. */
    namespace?: string;
    version: string;
    files: Record<string, string | { content: string | Buffer; mode?: number }>;
    metadata?: Record<string, unknown>;
    isGzipped?: boolean;
    /** The archive as it is, instead of one of the files. */
    archive?: Buffer;
  },
): Promise<Pushed> {
  const { id, version } = feature;
  const metadata = { id, version, name: id, ...feature.metadata };
  const files: typeof feature.files = { "devcontainer-feature.json": JSON.stringify(metadata), ...feature.files };
  const entries = Object.entries(files).map(([path, file]): TarEntry => {
    const mode = path.endsWith(".sh") ? 0o755 : 0o644;
    return typeof file === "string" ? { path: `./${path}`, content: file, mode } : { path: `./${path}`, mode, ...file };
  });
  const tar = feature.archive ?? tarOf([{ path: "./" }, ...entries]);
  const repository = `${feature.namespace ?? "features"}/${id}`;
  const layer = await pushBlob(registry, repository, feature.isGzipped ? await gzip(tar) : tar);
  const config = await pushBlob(registry, repository, Buffer.from("{}"));
  const parts = version.split(".");
  const tags = [...parts.map((_, index) => parts.slice(0, index + 1).join(".")).reverse(), "latest"];
  return pushManifest(registry, repository, tags, {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: "application/vnd.devcontainers", ...config },
    layers: [
      {
        mediaType: "application/vnd.devcontainers.layer.v1+tar",
        ...layer,
        annotations: { "org.opencontainers.image.title": `devcontainer-feature-${id}.tgz` },
      },
    ],
    annotations: { "dev.containers.metadata": JSON.stringify(metadata) },
  });
}

async function pack(layer: TestLayer, compression: "gzip" | "zstd" | "none") {
  if ("gzipped" in layer) return { bytes: layer.gzipped, diffId: layer.diffId };
  const tar = Buffer.isBuffer(layer) ? layer : tarOf(layer as readonly TarEntry[]);
  const pressed = compression === "gzip" ? gzip(tar, { level: 1 }) : compression === "zstd" ? zstd(tar) : tar;
  return { bytes: await pressed, diffId: sha256(tar) };
}

function layerType(compression: "gzip" | "zstd" | "none", isDocker: boolean): string {
  const suffix = { gzip: "gzip", zstd: "zstd", none: "" }[compression];
  if (isDocker) return `application/vnd.docker.image.rootfs.diff.tar${suffix && `.${suffix}`}`;
  return `application/vnd.oci.image.layer.v1.tar${suffix && `+${suffix}`}`;
}

async function pushBlob(registry: TestRegistry, repository: string, bytes: Buffer) {
  const digest = sha256(bytes);
  const begun = await request(registry, `/v2/${repository}/blobs/uploads/`, { method: "POST" });
  const location = new URL(begun.headers.get("location") ?? "", `http://${registry.address}`);
  location.searchParams.set("digest", digest);
  await request(registry, `${location.pathname}${location.search}`, {
    method: "PUT",
    body: new Uint8Array(bytes),
    headers: { "content-type": "application/octet-stream" },
  });
  return { digest, size: bytes.length };
}

async function pushManifest(
  registry: TestRegistry,
  repository: string,
  tags: readonly string[],
  manifest: { mediaType: string; [field: string]: unknown },
): Promise<Pushed> {
  const body = JSON.stringify(manifest);
  for (const tag of tags) {
    const headers = { "content-type": manifest.mediaType };
    await request(registry, `/v2/${repository}/manifests/${tag}`, { method: "PUT", body, headers });
  }
  const reference = `${registry.address}/${repository}:${tags[0]}`;
  return { reference, digest: sha256(Buffer.from(body)), size: Buffer.byteLength(body) };
}

async function request(registry: TestRegistry, path: string, init: RequestInit & { headers?: Record<string, string> }) {
  const { user, address } = registry;
  const basic = user && Buffer.from(`${user.name}:${user.password}`).toString("base64");
  const headers = { ...init.headers, ...(basic ? { authorization: `Basic ${basic}` } : {}) };
  const response = await fetch(`http://${address}${path}`, { ...init, headers });
  if (!response.ok) {
    const text = `${init.method} ${path}: ${response.status} ${await response.text()}`;
    throw new DormouseError("internal", text);
  }
  await response.arrayBuffer();
  return response;
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
