import { DormouseError } from "@dormouse/base";
import type { DockerfileSegment } from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";
import type { BuildWatcher } from "./builder.ts";
import { type DockerfileSource, dockerfileError } from "./dockerfile-source.ts";
import { type RunLogged, runLogged } from "./run.ts";
import type { StepTeller } from "./step-teller.ts";

/** A build in a builder's machine. */
export interface Job {
  id: string;
  guest: GuestClient;
  watcher: BuildWatcher;
  signal: AbortSignal;
  /** When it must have ended, as `performance.now()` counts. */
  deadlineMs: number;
}

/** An image that a Dockerfile names. */
export interface SegmentImage {
  name: string;
  /** What it is called in the builder: its name, but one with a digest, which only a registry gives. */
  called: string;
}

const place = "/var/tmp/dormouse-build";
/** Where images lie on their way in and out. */
export const archive = `${place}/image.tar`;
/** The folder that is built in. */
export const context = `${place}/context`;

/** On the drive itself: overlays do not lie on overlays, which a machine's root is. */
const buildah = [
  "buildah",
  "--root=/run/dormouse/containers/build",
  "--runroot=/run/dormouse/build",
  "--storage-driver=overlay",
];

/** What buildah writes of every step and after every command that failed: the command has said more. */
const noise =
  /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: |^subprocess exited with status \d+$|^Error: building at STEP "RUN .*: exit status \d+$/;

/** What it writes of images, which are ours here. */
const bookkeeping = new RegExp(
  [
    "(?:\\[\\d+/\\d+\\] )?COMMIT localhost/dormouse/.*",
    "Getting image source signatures|Writing manifest to image destination",
    "Copying (?:blob|config) sha256:[0-9a-f]+",
    "--> [0-9a-f]{12}|[0-9a-f]{64}|Successfully tagged localhost/dormouse/.*",
  ]
    .map((pattern) => `^(?:${pattern})$`)
    .join("|"),
);

/** Puts an archive of an image into buildah's storage. */
export async function unpackImage(job: Job, { name, called }: SegmentImage): Promise<void> {
  const line = buildah.join(" ");
  const script = `set -e; id=$(${line} pull --quiet "oci-archive:$1"); ${line} tag "$id" "$2"; rm "$1"`;
  await run(job, {
    what: `unpacking ${name} in the builder`,
    command: ["/bin/sh", "-c", script, "sh", archive, called],
  });
}

/**
 * Builds a segment of a Dockerfile, after those before it, with what is there of its context.
 * @throws DormouseError `failed_precondition` naming the line that failed, with the end of its output.
 */
export async function buildSegment(
  job: Job,
  options: {
    source: DockerfileSource;
    segment: DockerfileSegment;
    images: readonly SegmentImage[];
    teller: StepTeller;
  },
): Promise<void> {
  const { source, segment, images, teller } = options;
  const { guest, watcher, signal } = job;
  const path = `${place}/Dockerfile`;
  const content = Buffer.from(segment.text).toString("base64");
  await remote(guest.files.write({ path, content, parents: true }, { signal }));
  const steps = teller.segment(segment);
  const command = [
    ...[...buildah, "build", "--isolation=chroot", "--pull=never", `--file=${path}`, `--tag=${segment.image}`],
    // The other format has no place for SHELL.
    "--format=docker",
    ...images
      .filter(({ name, called }) => called !== name)
      .map(({ name, called }) => `--build-context=${name}=container-image://${called}`),
    ...Object.entries(segment.args).map(([name, value]) => `--build-arg=${name}=${value}`),
    ...[...source.options, context],
  ];
  const onLine = (line: string) => {
    if (bookkeeping.test(line)) return;
    const said = images.reduce((rest, { called, name }) => rest.replaceAll(called, name), line);
    const told = /^(?:\[\d+\/\d+\] )?STEP \d+\/\d+: (.*)$/.exec(said)?.[1];
    if (told !== undefined) return steps.begins(told);
    watcher.onLog(said);
    watcher.onProgress({ step: "build", message: `Building ${source.path}: ${said.slice(0, 120)}` });
  };
  const isTelling = (line: string) => !noise.test(line) && !bookkeeping.test(line);
  await run(job, { what: "the build", command, onLine, isTelling }).catch((caught: unknown) => {
    const error = DormouseError.from(caught);
    if (error.code !== "failed_precondition") throw error;
    const { line, text } = steps.current() ?? { line: null, text: undefined };
    throw dockerfileError(source, line, text === undefined ? error.message : `${text.slice(0, 200)}: ${error.message}`);
  });
}

/** Writes what came of the last segment to {@link archive}. */
export async function putTogether(job: Job, { segments }: DockerfileSource): Promise<void> {
  const image = segments.at(-1)?.image ?? "";
  // This kind of archive has layers as they are: compressing them takes an emulated processor minutes.
  const command = [...buildah, "push", "--quiet", image, `docker-archive:${archive}`];
  await run(job, { what: "putting together what was built", command });
}

async function run(
  { guest, watcher, signal, deadlineMs }: Job,
  command: Pick<RunLogged, "what" | "command"> & Partial<Pick<RunLogged, "onLine" | "isTelling">>,
): Promise<void> {
  const timeoutMs = Math.max(1, Math.round(deadlineMs - performance.now()));
  await runLogged({ guest, cwd: "/", user: "root", env: {}, timeoutMs, onLine: watcher.onLog, signal, ...command });
}
