import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  type DevcontainerConfig,
  type DockerfileNeeds,
  type DockerfileSegment,
  dockerfileNeeds,
  dockerfileSegments,
  type JsonPath,
  locate,
  sourceOf,
  substituteLocal,
} from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";
import { hashContext } from "./build-context.ts";
import { type DefinitionProblem, fileError, type VariableOwner, variablesOf } from "./definition.ts";

/** A Dockerfile of a repository, with all that decides what comes of it. */
export interface DockerfileSource {
  /** Relative to the repository. */
  path: string;
  text: string;
  /** The folder that is built in, relative to the repository. */
  context: string;
  args: Record<string, string>;
  target: string | undefined;
  /** More arguments of the build. */
  options: string[];
  /** The images that it names. */
  images: DockerfileNeeds["images"];
  /** What is built one after the other. */
  segments: DockerfileSegment[];
  /** Of its context: by sources of segments and names of files that say what is ignored, see {@link hashContext}. */
  contents: ReadonlyMap<string, string>;
  /** What of the definition is left out, a line each. */
  notes: string[];
  /** SHA-256 over text, settings, and what it can take out of its context. */
  hash: string;
}

/** How {@link readDockerfile} reads. */
export interface ReadDockerfileOptions {
  guest: GuestClient;
  /** The repository and its environment. */
  owner: VariableOwner;
  /** The definition, its path relative to the repository. */
  file: { path: string; text: string; config: DevcontainerConfig };
  signal: AbortSignal;
}

/** Of machines, and of images for them. Hosts and control are of one architecture. */
const architecture = process.arch === "x64" ? "amd64" : process.arch;

/**
 * Reads the Dockerfile that a definition names; undefined when it names none.
 * @throws DormouseError `failed_precondition` with `details` naming file and line for what is wrong in it.
 */
export async function readDockerfile(options: ReadDockerfileOptions): Promise<DockerfileSource | undefined> {
  const { owner, file } = options;
  const { build, dockerFile, context: folder, image } = file.config;
  // Variables may stand everywhere in them.
  const config = substituteLocal(
    { build, dockerFile, context: folder, image } as DevcontainerConfig,
    variablesOf(owner),
  );
  const source = sourceOf(config);
  if (source.kind !== "dockerfile") return undefined;
  const property = build?.dockerfile === undefined ? ["dockerFile"] : ["build", "dockerfile"];
  const path = within(file, source.dockerfile, property);
  const contextPath = build?.context === undefined ? ["context"] : ["build", "context"];
  const context = within(file, source.context, contextPath);
  const { args = {}, target, cacheFrom, options: written = [] } = config.build ?? {};
  const allowed = chooseOptions(written);
  return await readBuild(options, {
    ...{ path, context, args, target, options: allowed.options },
    place: placeOf(file, property),
    contextPlace: placeOf(file, contextPath),
    notes: [
      ...allowed.left.map((option) => `build.options: ${option} is not passed on`),
      ...(cacheFrom === undefined ? [] : ["build.cacheFrom: not asked: what was built here once is kept"]),
    ],
  });
}

/** A build as somebody wrote it; places are where errors are told. */
export interface BuildRequest extends Pick<DockerfileSource, "path" | "context" | "args" | "target" | "options"> {
  /** Absent: it lies at the path. */
  text?: string;
  place: Omit<DefinitionProblem, "message">;
  contextPlace: Omit<DefinitionProblem, "message">;
  notes: string[];
}

/**
 * Reads the Dockerfile of a build, and what of its context decides.
 * @throws DormouseError as {@link readDockerfile}.
 */
export async function readBuild(
  options: Omit<ReadDockerfileOptions, "file">,
  request: BuildRequest,
): Promise<DockerfileSource> {
  const { path, context, args, target, place, contextPlace, notes } = request;
  const text = request.text ?? (await readText(options, path, place));
  const { images, segments } = partsOf(path, text, { args, target });
  const sources = [...new Set(segments.flatMap((segment) => segment.sources))].sort();
  const contents = await readContext(options, context, sources, contextPlace);
  const settings = JSON.stringify([path, context, args, target ?? null, request.options]);
  return {
    ...{ path, text, context, args, target, options: request.options, images, segments, contents, notes },
    hash: createHash("sha256")
      .update(`${settings}\0${text}\0${JSON.stringify([...contents])}`)
      .digest("hex"),
  };
}

async function readText(
  { guest, owner, signal }: Omit<ReadDockerfileOptions, "file">,
  path: string,
  place: Omit<DefinitionProblem, "message">,
): Promise<string> {
  const read = remote(guest.files.read({ path: posix.join(owner.folder, path) }, { signal }));
  const { content } = await read.catch((error: unknown) => {
    if (DormouseError.from(error).code !== "not_found") throw error;
    throw fileError(place, `there is no ${path}`);
  });
  return Buffer.from(content, "base64").toString("utf8");
}

/** @throws DormouseError as `dockerfileNeeds`, with the file's name. */
function partsOf(path: string, text: string, options: { args: Record<string, string>; target: string | undefined }) {
  try {
    const own = { ...options, architecture };
    return { images: dockerfileNeeds(text, own).images, segments: dockerfileSegments(text, own) };
  } catch (caught) {
    const { message, details } = DormouseError.from(caught);
    throw dockerfileError({ path, text }, typeof details.line === "number" ? details.line : null, message);
  }
}

/** What is wrong in a Dockerfile, where a person finds it. */
export function dockerfileError({ path }: { path: string; text: string }, line: number | null, message: string) {
  const place = line === null ? path : `${path}:${line}`;
  return fileError({ file: path, line, column: line === null ? null : 1 }, `${place}: ${message}`);
}

/** A path beside the definition, relative to the repository. @throws DormouseError when it leads out of that. */
export function within(file: ReadDockerfileOptions["file"], written: string, property: JsonPath): string {
  const path = posix.join(posix.dirname(file.path), written).replace(/\/$/, "");
  if (!written.startsWith("/") && path !== ".." && !path.startsWith("../")) return path;
  const name = property.join(".");
  throw fileError(placeOf(file, property), `${name} is ${JSON.stringify(written)}: it leads out of the repository`);
}

/** Where a property of a definition stands. */
export function placeOf(
  { path, text }: ReadDockerfileOptions["file"],
  property: JsonPath,
): Omit<DefinitionProblem, "message"> {
  const { line, column } = locate(text, property);
  return { file: path, line, column };
}

async function readContext(
  { guest, owner, signal }: Omit<ReadDockerfileOptions, "file">,
  context: string,
  sources: readonly string[],
  place: Omit<DefinitionProblem, "message">,
): Promise<Map<string, string>> {
  const folder = posix.join(owner.folder, context);
  return await hashContext({ guest, folder, sources, signal }).catch((caught: unknown) => {
    const { code } = DormouseError.from(caught);
    if (signal.aborted || !(code === "not_found" || code === "resource_exhausted")) throw caught;
    const why = code === "not_found" ? `there is no folder ${context}` : `the folder ${context} is too large`;
    throw fileError(place, `${why} to build in`);
  });
}

/** Options of `docker build` that mean the same here and reach no further than what is built. */
const knownOptions = new Set(["--add-host", "--label"]);

function chooseOptions(written: readonly string[]): { options: string[]; left: string[] } {
  const options: string[] = [];
  const left: string[] = [];
  const words = [...written];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const [name = ""] = word.split("=", 1);
    const isWhole = word.includes("=");
    const hasValue = !isWhole && words[0] !== undefined && !words[0].startsWith("-");
    const option = hasValue ? `${word}=${words.shift()}` : word;
    if (knownOptions.has(name) && (isWhole || hasValue)) options.push(option);
    else left.push(option);
  }
  return { options, left };
}
