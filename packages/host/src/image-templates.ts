import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { BlockList, isIP } from "node:net";
import { join } from "node:path";
import { DormouseError, disposer, formatBytes, type Progress } from "@dormouse/base";
import type { Lanes, Vmm } from "@dormouse/compute";
import type { FeatureContents, FeatureSource, ImageInfo } from "@dormouse/contract";
import {
  fetchFeature,
  findBuiltImage,
  flattenBuilt,
  type ImageConfig,
  importImage,
  parseImageReference,
  pullFlattened,
  pullImage,
  type RegistryOptions,
  resolveImage,
} from "@dormouse/image";
import type { SlotPool } from "@dormouse/network";
import type { GuestAddress } from "./guest-address.ts";
import { receiveFile, sendFile } from "./guest-files.ts";
import type { GuestLink } from "./guest-link.ts";
import { ensureTemplate, type TemplateFolder, templateResources } from "./template-folder.ts";
import type { Templates } from "./templates.ts";

export interface ImageTemplatesOptions {
  cacheDir: string;
  templates: Templates;
  registry: RegistryOptions;
  vmm: Vmm;
  slots: SlotPool;
  lanes: Lanes;
  guest: GuestLink;
}

/** As much as an image may have unpacked. */
const maxArchiveBytes = 32 * 1024 ** 3;

/** Brings images and features from their registries to this host, and makes templates of images. */
export class ImageTemplates {
  readonly #options: ImageTemplatesOptions;

  constructor(options: ImageTemplatesOptions) {
    this.#options = options;
  }

  /**
   * What a reference means now; a digest alone is an image that was built here.
   * @throws DormouseError as `resolveImage` and `findBuiltImage` of image do.
   */
  async resolve(reference: string, signal?: AbortSignal): Promise<ImageInfo> {
    const { cacheDir, registry } = this.#options;
    const image = isDigest(reference)
      ? await findBuiltImage(reference, { cacheDir })
      : await resolveReached(reference, { ...registry, ...(signal && { signal }) });
    return imageInfoOf(reference, image.digest, image.config);
  }

  /**
   * Puts an image into a machine, as an OCI archive of one layer: what is built there may start from it, and the
   * registry's credentials stay here.
   */
  async deliver(
    { image, guest, path }: { image: string; guest: GuestAddress; path: string },
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const { cacheDir, registry } = this.#options;
    const own = { ...registry, cacheDir, progress, signal };
    const layout = isDigest(image)
      ? await flattenBuilt(await findBuiltImage(image, own), own)
      : await final(resolveReached(image, own).then((resolved) => pullFlattened(resolved, own)));
    progress({
      step: "image.deliver",
      state: "running",
      message: `Bringing ${isDigest(image) ? "what was built" : image} into the builder`,
    });
    const tar = spawn("tar", ["-c", "-C", layout, "."], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(tar, "close");
    try {
      await sendFile(guest, path, tar.stdout, signal);
      const [code] = await ended;
      if (code !== 0)
        throw new DormouseError("internal", `the layers of ${image} could not be read: tar ended with ${code}`);
    } finally {
      tar.kill("SIGKILL");
    }
  }

  /** Takes an image that was built in a machine, an archive as of `docker save`, as one that machines can be made from. */
  async adopt({ guest, path }: { guest: GuestAddress; path: string }, progress: Progress, signal: AbortSignal) {
    const { cacheDir } = this.#options;
    const archive = join(cacheDir, `built-image.${randomBytes(8).toString("hex")}.tar.building`);
    await using stack = disposer();
    stack.add(() => rm(archive, { force: true }));
    const onBytes = (bytes: number, total: number) => {
      const message = `Taking what was built: ${formatBytes(bytes)} of ${formatBytes(total)}`;
      progress({ step: "image.adopt", state: "running", message });
    };
    await receiveFile(guest, path, { target: archive, maxBytes: maxArchiveBytes, onBytes, signal });
    const image = await importImage(archive, "the image that was built", { cacheDir, progress, signal });
    return imageInfoOf(image.digest, image.digest, image.config);
  }

  /**
   * The template of an image: kernel, agent and drives as in `base`, the image in place of its own.
   * @param reference of a registry's image, or the digest alone of one that was built here.
   * @throws DormouseError as `pullImage` of image does, and when a machine with it does not boot.
   */
  async ofImage(reference: string, progress: Progress, signal?: AbortSignal): Promise<TemplateFolder> {
    const { cacheDir, templates, registry, vmm, slots, lanes, guest } = this.#options;
    const own = { ...registry, cacheDir, progress, ...(signal && { signal }) };
    const image = isDigest(reference)
      ? await findBuiltImage(reference, own)
      : await final(resolveReached(reference, own).then((resolved) => pullImage(resolved, own)));
    const base = templates.base.artifacts;
    const hash = createHash("sha256").update(`${base.hash} ${image.hash}`).digest("hex").slice(0, 24);
    const artifacts = { ...base, baseImage: image.path, hash };
    await using stack = disposer();
    const lane = lanes.reserve(templateResources);
    stack.add(() => lane.release());
    const options = { kind: "image" as const, cacheDir, artifacts, vmm, slots, guest, progress };
    const template = await ensureTemplate({ ...options, ...(signal && { signal }) }).catch((caught: unknown) => {
      const error = DormouseError.from(caught);
      throw new DormouseError(error.code, `no machine could be made from ${reference}: ${error.message}`, {
        details: error.details,
        cause: error,
      });
    });
    templates.add(template);
    return template;
  }

  async fetchFeature(source: FeatureSource, signal?: AbortSignal): Promise<FeatureContents> {
    const { cacheDir, registry } = this.#options;
    checkReach(source.kind === "registry" ? source.registry : new URL(source.url).host, registry);
    const context = { ...registry, cacheDir, ...(signal && { signal }) };
    const { digest, files } = await final(fetchFeature(source, context));
    return { digest, files: files.map((file) => ({ ...file, content: file.content.toString("base64") })) };
  }
}

function isDigest(reference: string): boolean {
  return /^sha256:[0-9a-f]{64}$/.test(reference);
}

function imageInfoOf(reference: string, digest: string, { user, env, labels }: ImageConfig): ImageInfo {
  return { reference, digest, user, env, labels };
}

/** What a reference means, of a registry that may be asked. */
async function resolveReached(reference: string, options: RegistryOptions & { signal?: AbortSignal }) {
  checkReach(parseImageReference(reference).registry, options);
  return await final(resolveImage(reference, options));
}

/** A registry that cannot be reached has said its last word, unlike a host that cannot be reached. */
async function final<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (caught) {
    const error = DormouseError.from(caught);
    if (error.code !== "unavailable") throw error;
    throw new DormouseError("failed_precondition", error.message, { details: error.details, cause: error });
  }
}

/** Addresses of this host and of networks that only it is in. */
const ownAddresses = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
] as const) {
  ownAddresses.addSubnet(net, prefix, "ipv4");
}
for (const [net, prefix] of [
  ["::", 127],
  ["fc00::", 7],
  ["fe80::", 10],
] as const) {
  ownAddresses.addSubnet(net, prefix, "ipv6");
}

/**
 * A repository names what is fetched, and the host fetches it: not from itself or its own networks, unless whoever runs it
 * has named that registry. A name that leads there is not found out.
 */
function checkReach(registry: string, { insecure = [] }: RegistryOptions): void {
  // As whoever connects reads it: 127.1 and 0x7f000001 are addresses too.
  const host = new URL(`http://${registry}`).hostname.replace(/^\[(.*)\]$/, "$1");
  const family = isIP(host);
  const isOwn =
    family === 0 ? /(^|\.)localhost$/i.test(host) : ownAddresses.check(host, family === 4 ? "ipv4" : "ipv6");
  if (!isOwn || insecure.includes(registry)) return;
  throw new DormouseError(
    "permission_denied",
    `${registry} is an address of this host's own network: nothing is fetched from there unless --insecure-registry ${registry} allows it`,
  );
}
