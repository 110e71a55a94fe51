import { createHash } from "node:crypto";
import { BlockList, isIP } from "node:net";
import { DormouseError, disposer, type Progress } from "@dormouse/base";
import type { Lanes, Vmm } from "@dormouse/compute";
import type { FeatureContents, FeatureSource, ImageInfo } from "@dormouse/contract";
import { fetchFeature, parseImageReference, pullImage, type RegistryOptions, resolveImage } from "@dormouse/image";
import type { SlotPool } from "@dormouse/network";
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

/** Brings images and features from their registries to this host, and makes templates of images. */
export class ImageTemplates {
  readonly #options: ImageTemplatesOptions;

  constructor(options: ImageTemplatesOptions) {
    this.#options = options;
  }

  /** What a reference means now. @throws DormouseError as `resolveImage` of image does. */
  async resolve(reference: string, signal?: AbortSignal): Promise<ImageInfo> {
    const { registry } = this.#options;
    checkReach(parseImageReference(reference).registry, registry);
    const image = await final(resolveImage(reference, { ...registry, ...(signal && { signal }) }));
    const { user, env, labels } = image.config;
    return { reference, digest: image.digest, user, env, labels };
  }

  /**
   * The template of an image: kernel, agent and drives as in `base`, the image in place of its own.
   * @throws DormouseError as `pullImage` of image does, and when a machine with it does not boot.
   */
  async ofImage(reference: string, progress: Progress, signal?: AbortSignal): Promise<TemplateFolder> {
    const { cacheDir, templates, registry, vmm, slots, lanes, guest } = this.#options;
    const own = { ...registry, cacheDir, progress, ...(signal && { signal }) };
    checkReach(parseImageReference(reference).registry, registry);
    const image = await final(resolveImage(reference, own).then((resolved) => pullImage(resolved, own)));
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
  const host = registry.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  const family = isIP(host);
  const isOwn =
    family === 0 ? /(^|\.)localhost$/i.test(host) : ownAddresses.check(host, family === 4 ? "ipv4" : "ipv6");
  if (!isOwn || insecure.includes(registry)) return;
  throw new DormouseError(
    "permission_denied",
    `${registry} is an address of this host's own network: nothing is fetched from there unless --insecure-registry ${registry} allows it`,
  );
}
