import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError, KeyedLock } from "@dormouse/base";
import type { ImageInfo, TemplateInfo } from "@dormouse/contract";
import { lineOfStep } from "@dormouse/devcontainer";
import { follow, type GuestClient, type HostConnection, remote } from "../host/client.ts";
import type { BuildStore } from "./build-store.ts";
import type { BuildWatcher } from "./builder.ts";
import { type BuilderMachines, baseTemplate } from "./builder-machines.ts";
import type { Carrier } from "./carry.ts";
import { type DockerfileSource, dockerfileError } from "./dockerfile-source.ts";
import { type ResolvedImage, withoutTag } from "./resolve.ts";
import { type RunLogged, runLogged } from "./run.ts";

/** Makes images of Dockerfiles. */
export interface ImageBuilder {
  /**
   * The image of a Dockerfile in a workspace's machine, built unless the same was built before: in a machine of its own, out
   * of images that the host brings there. Nothing of it runs on a host, and no credentials of registries enter a machine.
   * @throws DormouseError `failed_precondition` naming the line of the Dockerfile that failed, with the end of its output.
   */
  ensure(
    source: DockerfileSource,
    from: { workspaceId: string; folder: string },
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<ResolvedImage>;
}

/** What {@link createImageBuilder} works with. */
export interface ImageBuilderOptions {
  host: HostConnection;
  store: BuildStore;
  machines: BuilderMachines;
  carrier: Pick<Carrier, "copy">;
  timeoutMs: number;
}

// Raised when the way an image is built changes and its inputs do not.
const recipe = "1";

const place = "/var/tmp/dormouse-build";
const archive = `${place}/image.tar`;
const built = "localhost/dormouse/built";

/** Overlays do not lie on overlays, which a machine's root is: each layer is a folder. */
const buildah = ["buildah", "--storage-driver", "vfs"];

/** What buildah writes of every step and after every command that failed: the command has said more. */
const noise =
  /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: |^subprocess exited with status \d+$|^Error: building at STEP "RUN .*: exit status \d+$/;

interface Job {
  id: string;
  guest: GuestClient;
  source: DockerfileSource;
  watcher: BuildWatcher;
  signal: AbortSignal;
}

/** An image that the Dockerfile names. */
interface From {
  name: string;
  exact: string;
  /** What it is called in the builder: its name, but one with a digest, which only a registry gives. */
  called: string;
}

/** The {@link ImageBuilder} on a host. */
export function createImageBuilder(options: ImageBuilderOptions): ImageBuilder {
  const { host, store, machines, carrier, timeoutMs } = options;
  const lock = new KeyedLock();

  async function resolveFrom(source: DockerfileSource, watcher: BuildWatcher, signal: AbortSignal): Promise<From[]> {
    const images: From[] = [];
    for (const { name, line } of source.needs.images) {
      watcher.onProgress({ step: "image", message: `Asking for the image ${name}` });
      const { digest } = await remote(host.calls.images.resolve({ reference: name }, { signal })).catch((caught) => {
        const error = DormouseError.from(caught);
        if (signal.aborted || error.code === "unavailable") throw error;
        throw dockerfileError(source, line, error.message);
      });
      const called = name.includes("@") ? `localhost/dormouse/from-${images.length}` : name;
      images.push({ name, exact: `${withoutTag(name)}@${digest}`, called });
    }
    return images;
  }

  /** One that is in the table and not on the host is built again. */
  async function findBuilt(key: string, signal: AbortSignal): Promise<ImageInfo | undefined> {
    const digest = await store.findImage(key);
    if (digest === undefined) return undefined;
    return await remote(host.calls.images.resolve({ reference: digest }, { signal })).catch((error: unknown) => {
      if (DormouseError.from(error).code !== "not_found") throw error;
      return undefined;
    });
  }

  const run = (
    { guest, watcher, signal }: Job,
    command: Pick<RunLogged, "what" | "command"> & Partial<Pick<RunLogged, "onLine" | "isTelling">>,
  ) => runLogged({ guest, cwd: "/", user: "root", env: {}, timeoutMs, onLine: watcher.onLog, signal, ...command });

  async function bringImages(job: Job, images: readonly From[]) {
    const { id, watcher, signal } = job;
    for (const { name, exact, called } of images) {
      const deliver = { image: exact, workspaceId: id, path: archive };
      await follow(host.calls.images.deliver(deliver, { signal }), watcher.onProgress);
      watcher.onProgress({ step: "image", message: `Unpacking ${name} in the builder` });
      const script = `set -e; id=$(${buildah.join(" ")} pull --quiet "oci-archive:$1"); ${buildah.join(" ")} tag "$id" "$2"; rm "$1"`;
      await run(job, {
        what: `unpacking ${name} in the builder`,
        command: ["/bin/sh", "-c", script, "sh", archive, called],
      });
    }
  }

  async function bringContext({ id, guest, source, signal }: Job, from: { workspaceId: string; folder: string }) {
    const content = Buffer.from(source.text).toString("base64");
    await remote(guest.files.write({ path: `${place}/Dockerfile`, content, parents: true }, { signal }));
    const target = `${place}/context`;
    if (source.needs.sources.length === 0)
      return void (await remote(guest.files.makeDirectory({ path: target }, { signal })));
    const folder = posix.join(from.folder, source.context);
    await carrier.copy({ workspaceId: from.workspaceId, folder }, { workspaceId: id, folder: target }, signal);
  }

  async function runBuild(job: Job, images: readonly From[]) {
    const { source, watcher } = job;
    const { args, target, options: more, path, text } = source;
    const steps: string[] = [];
    const onLine = (line: string) => {
      const said = images.reduce((rest, { called, name }) => rest.replaceAll(called, name), line);
      const step = /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: (.*)$/.exec(said)?.[1];
      if (step !== undefined) steps.push(step);
      watcher.onLog(said);
      watcher.onProgress({ step: "build", message: `Building ${path}: ${said.slice(0, 120)}` });
    };
    const command = [
      ...[...buildah, "build", "--isolation=chroot", "--pull=never", `--file=${place}/Dockerfile`, `--tag=${built}`],
      // The other format has no place for SHELL.
      "--format=docker",
      ...images
        .filter(({ name, called }) => called !== name)
        .map(({ name, called }) => `--build-context=${name}=container-image://${called}`),
      ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
      ...(target === undefined ? [] : [`--target=${target}`]),
      ...[...more, `${place}/context`],
    ];
    watcher.onLog(`=== ${path}`);
    const isTelling = (line: string) => !noise.test(line);
    await run(job, { what: "the build", command, onLine, isTelling }).catch((caught: unknown) => {
      const error = DormouseError.from(caught);
      if (error.code !== "failed_precondition") throw error;
      const step = steps.at(-1);
      const at = step === undefined ? error.message : `${step.slice(0, 200)}: ${error.message}`;
      throw dockerfileError(source, lineOfStep(text, steps), at);
    });
  }

  async function build(
    options: { source: DockerfileSource; from: { workspaceId: string; folder: string }; images: readonly From[] },
    template: TemplateInfo,
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<ImageInfo> {
    const { source, from, images } = options;
    const start = { template: template.name, snapshot: null, resources: template.resources };
    return await machines.run({ start, env: {}, watcher, signal }, async ({ id, guest }) => {
      const job = { id, guest, source, watcher, signal };
      await bringContext(job, from);
      await bringImages(job, images);
      await runBuild(job, images);
      watcher.onProgress({ step: "build", message: "Putting together what was built" });
      // This kind of archive has layers as they are: compressing them takes an emulated processor minutes.
      const push = [...buildah, "push", "--quiet", built, `docker-archive:${archive}`];
      await run(job, { what: "putting together what was built", command: push });
      return await follow(host.calls.images.adopt({ workspaceId: id, path: archive }, { signal }), watcher.onProgress);
    });
  }

  return {
    async ensure(source, from, watcher, signal) {
      const template = await baseTemplate(host, signal);
      const images = await resolveFrom(source, watcher, signal);
      const key = createHash("sha256")
        .update(JSON.stringify([recipe, template.hash, source.hash, images.map(({ name, exact }) => [name, exact])]))
        .digest("hex");
      // Two that want the same build it once.
      const image = await lock.run(key, async () => {
        const known = await findBuilt(key, signal);
        if (known) return known;
        const made = await build({ source, from, images }, template, watcher, signal);
        await store.saveImage(key, made.digest);
        return made;
      });
      return { ...image, exact: image.digest };
    },
  };
}
