import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import * as z from "zod";
import { digestOf, type Manifest, parseJson, parseManifest, tooLarge } from "./manifest.ts";

const manifestType = "application/vnd.oci.image.manifest.v1+json";
const gzipMagic = "1f8b";
const zstdMagic = "28b52ffd";
/** Zstd's skippable frames, which some builders put first: any last digit. */
const zstdSkippableMagic = /^5[0-9a-f]2a4d18$/;

/** The way a layer is compressed, told by its first bytes: media types are wrong at times. */
export function compressionOf(firstBytes: Uint8Array): "gzip" | "zstd" | "none" {
  const magic = Buffer.from(firstBytes.subarray(0, 4)).toString("hex");
  if (magic.startsWith(gzipMagic)) return "gzip";
  return magic === zstdMagic || zstdSkippableMagic.test(magic) ? "zstd" : "none";
}

/**
 * Makes a layout that skopeo wrote into one that umoci understands: layers compressed with zstd
 * become plain ones, and every layer's media type says what it is.
 * @throws DormouseError `data_loss` for a layer that is not what the image's configuration says,
 *   `resource_exhausted` beyond `maxBytes`.
 */
export async function convertLayers(
  layout: string,
  options: { name: string; maxBytes: number; signal?: AbortSignal },
): Promise<void> {
  const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8"));
  const entry = index.manifests[0];
  const manifest = parseManifest(await readFile(blobPath(layout, entry.digest), "utf8"), options.name);
  if (!("layers" in manifest)) throw damaged(options.name, "it is a list of manifests");
  const diffIds = await readDiffIds(layout, manifest, options.name);
  const layers: Manifest["layers"] = [];
  // One blob may be several layers.
  const converted = new Map<string, { digest: string; size: number }>();
  let roomBytes = options.maxBytes;
  for (const [position, layer] of manifest.layers.entries()) {
    const known = converted.get(layer.digest);
    const compression = known ? "zstd" : await compressionOfBlob(layout, layer.digest);
    if (compression !== "zstd") {
      layers.push({ ...layer, mediaType: layerType(compression) });
      continue;
    }
    const plain = known ?? (await decompress(layout, layer.digest, { ...options, maxBytes: roomBytes }));
    converted.set(layer.digest, plain);
    if (plain.digest !== diffIds[position]) {
      throw damaged(options.name, `layer ${layer.digest} unpacks to ${plain.digest}, not ${diffIds[position]}`);
    }
    if (!known) roomBytes -= plain.size;
    layers.push({ ...plain, mediaType: layerType("none") });
  }
  const bytes = JSON.stringify({ ...manifest, mediaType: manifestType, layers });
  const digest = digestOf(bytes);
  await writeFile(blobPath(layout, digest), bytes);
  index.manifests = [{ ...entry, digest, size: Buffer.byteLength(bytes) }];
  await writeFile(join(layout, "index.json"), JSON.stringify(index));
}

/** The configuration of a layout's only image, as it is. */
export async function readConfig(layout: string, name: string): Promise<string> {
  const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8"));
  const manifest = parseManifest(await readFile(blobPath(layout, index.manifests[0].digest), "utf8"), name);
  if (!("layers" in manifest)) throw damaged(name, "it is a list of manifests");
  return await readFile(blobPath(layout, manifest.config.digest), "utf8");
}

/** Writes a layout of one image, called `image`, with one plain layer: a tar file, which is moved into it. */
export async function writeLayout(layout: string, layer: string, config: Record<string, unknown>): Promise<void> {
  await mkdir(join(layout, "blobs", "sha256"), { recursive: true });
  const put = async (value: unknown) => {
    const text = JSON.stringify(value);
    const digest = digestOf(text);
    await writeFile(blobPath(layout, digest), text);
    return { digest, size: Buffer.byteLength(text) };
  };
  const hash = createHash("sha256");
  await pipeline(createReadStream(layer), hash);
  const digest = `sha256:${hash.digest("hex")}`;
  const { size } = await stat(layer);
  await rename(layer, blobPath(layout, digest));
  // What it says of the layers that it had is true of no layer any more.
  const { history, ...rest } = config;
  const rootfs = { type: "layers", diff_ids: [digest] };
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...(await put({ ...rest, rootfs })) },
    layers: [{ mediaType: layerType("none"), digest, size }],
  };
  const annotations = { "org.opencontainers.image.ref.name": "image" };
  const manifests = [{ mediaType: manifestType, ...(await put(manifest)), annotations }];
  await writeFile(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  await writeFile(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}

function layerType(compression: "gzip" | "none"): string {
  return `application/vnd.oci.image.layer.v1.tar${compression === "gzip" ? "+gzip" : ""}`;
}

async function readDiffIds(layout: string, manifest: Manifest, name: string): Promise<string[]> {
  const text = await readFile(blobPath(layout, manifest.config.digest), "utf8");
  const schema = z.object({ rootfs: z.object({ diff_ids: z.array(z.string()) }) });
  const diffIds = schema.safeParse(parseJson(text, name)).data?.rootfs.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length) {
    throw damaged(name, `it has ${manifest.layers.length} layers, and its configuration lists ${diffIds.length}`);
  }
  return diffIds;
}

async function compressionOfBlob(layout: string, digest: string) {
  const file = await open(blobPath(layout, digest));
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return compressionOf(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

/**
 * Node's own stream ends with the first of several frames when they come in one piece, and layers that can be
 * fetched in parts consist of many; so Debian's `zstd` does it, held to a size by the kernel.
 */
async function decompress(
  layout: string,
  digest: string,
  options: { name: string; maxBytes: number; signal?: AbortSignal },
): Promise<{ digest: string; size: number }> {
  const target = join(layout, "decompressed");
  const limit = `--fsize=${Math.max(0, options.maxBytes)}`;
  const args = [limit, "zstd", "--decompress", "--quiet", "--no-sparse", "--force", "-o", target];
  try {
    await run("prlimit", [...args, blobPath(layout, digest)], { timeoutMs: 1_800_000, signal: options.signal });
  } catch (error) {
    options.signal?.throwIfAborted();
    const isOver = error instanceof DormouseError && /SIGXFSZ|File too large/.test(error.message);
    if (isOver) throw tooLarge(options.name, options.maxBytes, options.maxBytes);
    throw damaged(options.name, `layer ${digest} is not what zstd compresses to`, error);
  }
  const hash = createHash("sha256");
  await pipeline(createReadStream(target), hash, { signal: options.signal });
  const plain = `sha256:${hash.digest("hex")}`;
  const { size } = await stat(target);
  await rename(target, blobPath(layout, plain));
  await rm(blobPath(layout, digest));
  return { digest: plain, size };
}

function blobPath(layout: string, digest: string): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(digest)) throw damaged(layout, `${JSON.stringify(digest)} is no digest`);
  return join(layout, "blobs", "sha256", digest.slice("sha256:".length));
}

function damaged(name: string, what: string, cause?: unknown): DormouseError {
  return new DormouseError("data_loss", `${name} is damaged: ${what}`, { cause });
}
