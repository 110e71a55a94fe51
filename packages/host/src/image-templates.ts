import { createHash } from "node:crypto";
import { DormouseError, disposer, type Progress } from "@dormouse/base";
import type { Lanes, Vmm } from "@dormouse/compute";
import type { FeatureContents, FeatureSource, ImageInfo } from "@dormouse/contract";
import { fetchFeature, pullImage, type RegistryOptions, resolveImage } from "@dormouse/image";
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
    const image = await resolveImage(reference, { ...this.#options.registry, ...(signal && { signal }) });
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
    const image = await pullImage(await resolveImage(reference, own), own);
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
    const { digest, files } = await fetchFeature(source, { ...registry, cacheDir, ...(signal && { signal }) });
    return { digest, files: files.map((file) => ({ ...file, content: file.content.toString("base64") })) };
  }
}
