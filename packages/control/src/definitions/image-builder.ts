import { posix } from "node:path";
import { DormouseError, KeyedLock } from "@dormouse/base";
import type { ImageInfo, TemplateInfo } from "@dormouse/contract";
import { follow, type HostConnection, remote } from "../host/client.ts";
import { hashContext } from "./build-context.ts";
import type { BuildStore } from "./build-store.ts";
import type { BuildWatcher } from "./builder.ts";
import { type BuilderMachines, baseTemplate } from "./builder-machines.ts";
import { createBuiltSnapshots } from "./built-snapshots.ts";
import type { Carrier } from "./carry.ts";
import { type DockerfileSource, dockerfileError } from "./dockerfile-source.ts";
import { type ResolvedImage, withoutTag } from "./resolve.ts";
import {
  archive,
  buildSegment,
  context,
  type Job,
  putTogether,
  type SegmentImage,
  unpackImage,
} from "./segment-build.ts";
import { type BuildScope, imageKey, segmentKeys } from "./segment-keys.ts";
import { type StepTeller, stepTeller } from "./step-teller.ts";

/** Makes images of Dockerfiles. */
export interface ImageBuilder {
  /**
   * The image of a Dockerfile in a workspace's machine, built unless the same was built before: in a machine of its own, out
   * of images that the host brings there. Nothing of it runs on a host, and no credentials of registries enter a machine.
   * It begins after the last step that was kept and went in as it does now.
   * @throws DormouseError `failed_precondition` naming the line of the Dockerfile that failed, with the end of its output.
   */
  ensure(
    source: DockerfileSource,
    from: BuildOrigin,
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<ResolvedImage>;
}

/** Where a Dockerfile's repository lies, and whose it is. */
export interface BuildOrigin {
  workspaceId: string;
  /** Of the repository, absolute. */
  folder: string;
  scope: BuildScope;
}

/** What {@link createImageBuilder} works with. */
export interface ImageBuilderOptions {
  host: HostConnection;
  store: BuildStore;
  machines: BuilderMachines;
  carrier: Pick<Carrier, "copy">;
  /** For one build, whatever it brings and runs. */
  timeoutMs: number;
  /**
   * What took less since the builder began, or since something was kept last, is not kept: that takes seconds, too.
   * Default: 20 s.
   */
  worthKeepingMs?: number;
}

/** An image that the Dockerfile names. */
interface From extends SegmentImage {
  exact: string;
}

/** All that {@link createImageBuilder} builds of. */
interface Plan {
  source: DockerfileSource;
  from: BuildOrigin;
  images: readonly From[];
  /** Of the first segments, see `segmentKeys`. */
  keys: readonly string[];
}

/** The {@link ImageBuilder} on a host. */
export function createImageBuilder(options: ImageBuilderOptions): ImageBuilder {
  const { host, store, machines, carrier, timeoutMs, worthKeepingMs = 20_000 } = options;
  const snapshots = createBuiltSnapshots({ host, store });
  const lock = new KeyedLock();

  async function resolveFrom(source: DockerfileSource, watcher: BuildWatcher, signal: AbortSignal): Promise<From[]> {
    const images: From[] = [];
    for (const { name, line } of source.images) {
      watcher.onProgress({ step: "image", message: `Asking for the image ${name}` });
      const { digest } = await remote(host.calls.images.resolve({ reference: name }, { signal })).catch((caught) => {
        const error = DormouseError.from(caught);
        if (signal.aborted || error.code === "unavailable") throw error;
        throw dockerfileError(source, line, error.message);
      });
      const called = name.includes("@") ? `localhost/dormouse/from:${digest.replace(/^.*:/, "").slice(0, 32)}` : name;
      images.push({ name, exact: `${withoutTag(name)}@${digest}`, called });
    }
    return images;
  }

  /** One that is in the table and not on the host is built again. */
  async function findImage(key: string, signal: AbortSignal): Promise<ImageInfo | undefined> {
    const digest = await store.findImage(key);
    if (digest === undefined) return undefined;
    return await remote(host.calls.images.resolve({ reference: digest }, { signal })).catch((error: unknown) => {
      if (DormouseError.from(error).code !== "not_found") throw error;
      return undefined;
    });
  }

  async function bringImages(job: Job, images: readonly From[]) {
    const { id, watcher, signal } = job;
    for (const image of images) {
      const deliver = { image: image.exact, workspaceId: id, path: archive };
      await follow(host.calls.images.deliver(deliver, { signal }), watcher.onProgress);
      watcher.onProgress({ step: "image", message: `Unpacking ${image.name} in the builder` });
      await unpackImage(job, image);
    }
  }

  /**
   * Brings what the next segment takes out of its context, and nothing else: all that a step can come by is in its key.
   * @returns whether it is what it was when the key was made.
   */
  async function bringContext(job: Job, { source, from }: Plan, sources: readonly string[]): Promise<boolean> {
    const { id, guest, watcher, signal } = job;
    if (sources.length === 0) return true;
    const folder = posix.join(from.folder, source.context);
    const to = { workspaceId: id, folder: context };
    await carrier.copy({ workspaceId: from.workspaceId, folder }, to, sources, signal);
    const brought = await hashContext({ guest, folder: context, sources, signal });
    const isSame = [...brought].every(([name, hash]) => source.contents.get(name) === hash);
    if (!isSame) watcher.onLog("Files were changed while they were brought: what comes of them is not kept");
    return isSame;
  }

  /** Builds the segments that are left, each kept before the next one runs if that is worth it. */
  async function buildSegments(job: Job, plan: Plan, teller: StepTeller, done: number): Promise<{ isSame: boolean }> {
    const { guest, watcher, signal } = job;
    const { source, images, keys } = plan;
    const { segments } = source;
    const there = new Set(segments.slice(0, done).flatMap((segment) => segment.images));
    let isSame = true;
    let keptMs = performance.now();
    for (const [index, segment] of segments.entries()) {
      if (index < done) continue;
      await remote(guest.files.makeDirectory({ path: context }, { signal }));
      const named = images.filter(({ name }) => segment.images.includes(name));
      const missing = named.filter(({ name }) => !there.has(name));
      await bringImages(job, missing);
      for (const { name } of missing) there.add(name);
      isSame = (await bringContext(job, plan, segment.sources)) && isSame;
      await buildSegment(job, { source, segment, images: named, teller });
      await remote(guest.files.remove({ path: context, recursive: true }, { signal }));
      const key = keys[index];
      if (key === undefined || !isSame || performance.now() - keptMs < worthKeepingMs) continue;
      // Somebody who built the same at the same time may have been faster.
      if (!(await snapshots.find([key]))) {
        watcher.onProgress({ step: "builder", message: "Keeping what was built" });
        const name = `${source.path}, ${segments.slice(0, index + 1).flatMap(({ steps }) => steps).length} steps`;
        await snapshots.keep({ key, builderId: job.id, name, signal });
      }
      keptMs = performance.now();
    }
    return { isSame };
  }

  async function build(plan: Plan, template: TemplateInfo, watcher: BuildWatcher, signal: AbortSignal) {
    const { source, keys } = plan;
    const found = await snapshots.find(keys);
    const done = found ? keys.indexOf(found.key) + 1 : 0;
    const start = { template: template.name, snapshot: found?.snapshot ?? null, resources: template.resources };
    return await machines.run({ start, env: {}, watcher, signal }, async ({ id, guest }) => {
      const job: Job = { id, guest, watcher, signal, deadlineMs: performance.now() + timeoutMs };
      const teller = stepTeller(source, watcher);
      watcher.onLog(`=== ${source.path}`);
      teller.cached(done);
      const { isSame } = await buildSegments(job, plan, teller, done);
      watcher.onProgress({ step: "build", message: "Putting together what was built" });
      await putTogether(job, source);
      const adopt = host.calls.images.adopt({ workspaceId: id, path: archive }, { signal });
      return { image: await follow(adopt, watcher.onProgress), isSame };
    });
  }

  return {
    async ensure(source, from, watcher, signal) {
      const template = await baseTemplate(host, signal);
      const images = await resolveFrom(source, watcher, signal);
      const inputs = { scope: from.scope, builder: template.hash, images };
      const plan: Plan = { source, from, images, keys: segmentKeys(source, inputs) };
      const key = imageKey(source, inputs);
      // Two that want the same build it once.
      const image = await lock.run(key, async () => {
        const known = await findImage(key, signal);
        if (known) return known;
        const made = await build(plan, template, watcher, signal);
        if (made.isSame) await store.saveImage(key, made.image.digest);
        return made.image;
      });
      return { ...image, exact: image.digest };
    },
  };
}
