import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, type ErrorCode, formatBytes } from "@dormouse/base";
import { contentHash } from "@dormouse/base/node";
import { type BuildContext, cached } from "../cache.ts";
import { type FeatureFile, readFeatureArchive } from "./feature-archive.ts";
import { digestOf, type Manifest, parseManifest } from "./manifest.ts";
import { type ImageReference, isLoopback, parseImageReference } from "./reference.ts";
import { copyToLayout, inspect, type RegistryOptions } from "./skopeo.ts";

/** Where a feature lies; `parseFeatureReference` of `devcontainer` makes these. */
export type RemoteFeature =
  | { kind: "registry"; registry: string; namespace: string; id: string; tag?: string; digest?: string }
  | { kind: "tarball"; url: string };

/** A feature as it came from where it lies. */
export interface FeatureContents {
  /** `sha256:…` of the manifest in the registry, or of the tarball. */
  digest: string;
  /** Sorted by path; `devcontainer-feature.json` and `install.sh` are for the caller to look for. */
  files: FeatureFile[];
}

const layerTypes = ["application/vnd.devcontainers.layer.v1+tar", "application/vnd.devcontainers.layer.v1+tar+gzip"];
const maxArchiveBytes = 16 * 1024 ** 2;
const maxRedirects = 5;
const timeoutMs = 120_000;

/**
 * Fetches a devcontainer feature. From a registry, what a digest names is kept in the cache, and a tag costs one request
 * to learn its digest; a tarball has no name but its address and is fetched each time.
 * @see https://containers.dev/implementors/features-distribution/
 * @throws DormouseError as {@link resolveImage} does for registries; `invalid_argument` for an address that may not be
 *   used and for an archive with anything but files and folders, naming the entry; `failed_precondition` for what is
 *   no feature; `resource_exhausted` beyond 16 MiB, 64 MiB unpacked or 2,000 files.
 */
export async function fetchFeature(
  reference: RemoteFeature,
  context: BuildContext & RegistryOptions = {},
): Promise<FeatureContents> {
  if (reference.kind === "tarball") {
    const archive = await fetchTarball(reference.url, context.signal);
    return { digest: digestOf(archive), files: await readFeatureArchive(archive, withoutQuery(reference.url)) };
  }
  const { registry, namespace, id, tag, digest } = reference;
  const name = `${registry}/${namespace}/${id}${digest ? `@${digest}` : `:${tag ?? "latest"}`}`;
  const place = parseImageReference(name);
  const known = await fetchFromRegistry(place, name, context);
  return { digest: known.digest, files: await readFeatureArchive(await readFile(known.path), name) };
}

async function fetchFromRegistry(place: ImageReference, name: string, context: BuildContext & RegistryOptions) {
  const tagged = place.digest ? undefined : await inspect("raw", place, context);
  const digest = place.digest ?? digestOf(tagged ?? "");
  const build = async (folder: string) => {
    const manifest = tagged ?? (await inspect("raw", place, context));
    const layer = checkFeatureManifest(parseManifest(manifest, name), name);
    const layout = join(folder, "layout");
    await copyToLayout({ ...place, digest }, layout, { ...context, timeoutMs });
    await rename(join(layout, "blobs", "sha256", layer.digest.slice("sha256:".length)), join(folder, "feature.tar"));
    await rm(layout, { recursive: true });
  };
  const hash = await contentHash("feature", "1", digest);
  const title = `Fetching the feature ${name}`;
  const folder = await cached({ name: "feature", hash, title, build, sideBySide: { timeoutMs } }, context);
  return { digest, path: join(folder, "feature.tar") };
}

function checkFeatureManifest(manifest: ReturnType<typeof parseManifest>, name: string): Manifest["layers"][number] {
  const layers = "layers" in manifest ? manifest.layers : [];
  const layer = layers.find(({ mediaType }) => layerTypes.includes(mediaType));
  if (!layer || layers.some(({ urls }) => urls?.length)) {
    throw new DormouseError(
      "failed_precondition",
      `${name} is no devcontainer feature: no layer is of ${layerTypes[0]}`,
    );
  }
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxArchiveBytes) throw tooLarge(name);
  return layer;
}

async function fetchTarball(address: string, signal?: AbortSignal): Promise<Buffer> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const both = signal ? AbortSignal.any([signal, deadline]) : deadline;
  let url = checkedAddress(address, address);
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    const response = await request(url, both);
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || !location) return await readBody(response, url, both);
    await response.body?.cancel();
    url = checkedAddress(new URL(location, url).href, url.href);
  }
  throw new DormouseError("failed_precondition", `${withoutQuery(address)} leads on more than ${maxRedirects} times`);
}

async function request(url: URL, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, { redirect: "manual", signal, headers: { accept: "*/*" } });
  } catch (error) {
    if (signal.aborted) throw DormouseError.from(signal.reason, "cancelled");
    throw new DormouseError("unavailable", `${url.host} cannot be reached for ${withoutQuery(url.href)}`, {
      cause: error,
    });
  }
}

async function readBody(response: Response, url: URL, signal: AbortSignal): Promise<Buffer> {
  if (!response.ok) {
    await response.body?.cancel();
    const codes: Record<number, ErrorCode> = {
      401: "unauthenticated",
      403: "permission_denied",
      404: "not_found",
      410: "not_found",
      429: "resource_exhausted",
    };
    const code = codes[response.status] ?? "unavailable";
    throw new DormouseError(code, `${url.host} answers ${response.status} for ${withoutQuery(url.href)}`);
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > maxArchiveBytes) throw tooLarge(withoutQuery(url.href));
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof DormouseError) throw error;
    if (signal.aborted) throw DormouseError.from(signal.reason, "cancelled");
    throw new DormouseError("unavailable", `${url.host} stopped in the middle of ${withoutQuery(url.href)}`, {
      cause: error,
    });
  }
  return Buffer.concat(chunks);
}

/** Only HTTPS; plain HTTP stays on this machine, and nobody else's server may lead there. */
function checkedAddress(address: string, from: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const isOwn = url?.protocol === "http:" && isLoopback(url.host) && isLoopback(new URL(from).host);
  if (url && (url.protocol === "https:" || isOwn)) return url;
  throw new DormouseError("invalid_argument", `feature ${withoutQuery(address)}: must be an https address`);
}

/** Addresses may have passwords and tokens in them, which must not end in a log. */
function withoutQuery(address: string): string {
  if (!URL.canParse(address))
    return JSON.stringify(
      address
        .split(/[?#]/, 1)[0]
        ?.replace(/\/\/[^/]*@/, "//")
        .slice(0, 200),
    );
  const { protocol, host, pathname } = new URL(address);
  return `${protocol}//${host}${pathname}`;
}

function tooLarge(name: string): DormouseError {
  return new DormouseError("resource_exhausted", `feature ${name}: more than ${formatBytes(maxArchiveBytes)}`, {
    details: { limit: maxArchiveBytes },
  });
}
