import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError, KeyedLock } from "@dormouse/base";
import type { ImageInfo, SnapshotRef, TemplateInfo } from "@dormouse/contract";
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
   * Steps that are as they were when the Dockerfile was built last for the same person are not run again.
   * @throws DormouseError `failed_precondition` naming the line of the Dockerfile that failed, with the end of its output.
   */
  ensure(
    source: DockerfileSource,
    from: BuildContext,
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<ResolvedImage>;
}

/** Where a Dockerfile's repository lies, and whose it is. */
export interface BuildContext {
  workspaceId: string;
  folder: string;
  ownerId: string;
  repository: string | null;
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
const recipe = "2";

const place = "/var/tmp/dormouse-build";
const archive = `${place}/image.tar`;
const built = "localhost/dormouse/built";

/** On the drive itself: overlays do not lie on overlays, which a machine's root is. */
const buildah = [
  "buildah",
  "--root=/run/dormouse/containers/build",
  "--runroot=/run/dormouse/build",
  "--storage-driver=overlay",
];
const buildahLine = buildah.join(" ");

/** Of images that are in the storage, those that the last build needs stay, with its steps. */
const tidy =
  `for name in $(${buildahLine} images --format '{{.Name}}:{{.Tag}}'); do ` +
  `case " $* <none>:<none> " in *" $name "*) ;; *) ${buildahLine} rmi "$name" ;; esac; done; ${buildahLine} rmi --prune`;

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
  /** What it is found by in the builder's storage. */
  kept: string;
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
      const exact = `${withoutTag(name)}@${digest}`;
      images.push({ name, exact, called, kept: `localhost/dormouse/from:${hash(exact).slice(0, 32)}` });
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
    for (const { name, exact, called, kept } of images) {
      if (await isKept(job, kept, called)) continue;
      const deliver = { image: exact, workspaceId: id, path: archive };
      await follow(host.calls.images.deliver(deliver, { signal }), watcher.onProgress);
      watcher.onProgress({ step: "image", message: `Unpacking ${name} in the builder` });
      const script = `set -e; id=$(${buildahLine} pull --quiet "oci-archive:$1"); ${buildahLine} tag "$id" "$2" "$3"; rm "$1"`;
      await run(job, {
        what: `unpacking ${name} in the builder`,
        command: ["/bin/sh", "-c", script, "sh", archive, called, kept],
      });
    }
  }

  /** From an earlier build; it is called what the Dockerfile calls it then. */
  async function isKept(job: Job, kept: string, called: string): Promise<boolean> {
    const tag = { what: "looking for an image", command: [...buildah, "tag", kept, called], onLine: () => {} };
    return await run(job, tag).then(
      () => true,
      (error: unknown) => {
        if (DormouseError.from(error).code !== "failed_precondition") throw error;
        return false;
      },
    );
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
      ...[
        ...buildah,
        "build",
        "--layers",
        "--force-rm",
        "--isolation=chroot",
        "--pull=never",
        `--file=${place}/Dockerfile`,
        `--tag=${built}`,
      ],
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
    options: { source: DockerfileSource; from: BuildContext; images: readonly From[] },
    template: TemplateInfo,
    watcher: BuildWatcher,
    signal: AbortSignal,
  ): Promise<ImageInfo> {
    const { source, from, images } = options;
    // What single steps wrote may be somebody's own, and what they fetched is as it was then: nobody else starts there.
    const { ownerId, repository } = from;
    const stepsKey = hash(
      JSON.stringify([recipe, "steps", template.hash, ownerId, repository, source.path, source.target]),
    );
    const before = repository === null ? undefined : await findSteps(stepsKey);
    const start = { template: template.name, snapshot: before ?? null, resources: template.resources };
    return await machines.run({ start, env: {}, watcher, signal }, async ({ id, guest }) => {
      const job = { id, guest, source, watcher, signal };
      await bringContext(job, from);
      await bringImages(job, images);
      const keep = async () => {
        if (repository !== null) await keepSteps(job, { key: stepsKey, before });
      };
      await runBuild(job, images).catch(async (error: unknown) => {
        // What has run is not run again once the step that failed is right, unless there is no room for both.
        if (/no space left/i.test(DormouseError.from(error).message)) await store.forget(stepsKey);
        else if (DormouseError.from(error).code === "failed_precondition") await keep();
        throw error;
      });
      watcher.onProgress({ step: "build", message: "Putting together what was built" });
      // This kind of archive has layers as they are: compressing them takes an emulated processor minutes.
      const push = [...buildah, "push", "--quiet", built, `docker-archive:${archive}`];
      await run(job, { what: "putting together what was built", command: push });
      const adopt = host.calls.images.adopt({ workspaceId: id, path: archive }, { signal });
      const image = await follow(adopt, watcher.onProgress);
      const stay = [`${built}:latest`, ...images.map(({ kept }) => kept)];
      await run(job, { what: "tidying up", command: ["/bin/sh", "-c", tidy, "sh", ...stay], onLine: () => {} });
      await keep();
      return image;
    });
  }

  /** The storage of the last build of the same Dockerfile, unless it is gone from its host. */
  async function findSteps(key: string) {
    const found = await store.find([key]);
    if (!found) return undefined;
    const { workspaceId, id } = found.snapshot;
    const { snapshots } = await remote(host.calls.snapshots.list({ workspaceId }));
    if (snapshots.some((snapshot) => snapshot.id === id)) return found.snapshot;
    await store.forget(key);
    return undefined;
  }

  /** Keeps the storage of this build in the place of the one that it began with. */
  async function keepSteps(
    { id, guest, signal }: Job,
    { key, before }: { key: string; before: SnapshotRef | undefined },
  ) {
    await remote(guest.files.remove({ path: place, recursive: true }, { signal }));
    const taken = { workspaceId: id, generation: 1, reason: "fork" as const, name: "steps of a Dockerfile" };
    const { id: snapshotId } = await remote(host.calls.machines.snapshot(taken, { signal }));
    await store.save(key, { workspaceId: id, id: snapshotId });
    if (before)
      await remote(host.calls.snapshots.delete(before, { signal })).catch(() => {
        // Somebody else was faster, or it goes with what nobody used for long.
      });
  }

  return {
    async ensure(source, from, watcher, signal) {
      const template = await baseTemplate(host, signal);
      const images = await resolveFrom(source, watcher, signal);
      const exact = images.map((image) => [image.name, image.exact]);
      const key = hash(JSON.stringify([recipe, template.hash, source.hash, exact]));
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

const hash = (text: string) => createHash("sha256").update(text).digest("hex");
