import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  type ComposePlan,
  type ComposeProject,
  type ComposeService,
  type DevcontainerConfig,
  type Problem,
  planCompose,
  readComposeProject,
  sourceOf,
  substituteLocal,
} from "@dormouse/devcontainer";
import { remote } from "../host/client.ts";
import { type DefinitionProblem, fileError, problemsError, variablesOf } from "./definition.ts";
import { type DockerfileSource, placeOf, type ReadDockerfileOptions, readBuild, within } from "./dockerfile-source.ts";

/** The services of a repository, with all that decides what comes of them. */
export interface ComposeSource {
  plan: ComposePlan;
  /** Of the services that are built, by name. */
  builds: ReadonlyMap<string, DockerfileSource>;
  /** Where a service's image stands. */
  imagePlace(service: string): Omit<DefinitionProblem, "message">;
  /** What is left out, a line each. */
  notes: string[];
  /** SHA-256 over services, variables replaced, and their builds. */
  hash: string;
}

/**
 * Reads the Compose files that a definition names; undefined when it names none.
 * @throws DormouseError `failed_precondition` with `details` naming file, line and column for what is wrong in them.
 */
export async function readCompose(options: ReadDockerfileOptions): Promise<ComposeSource | undefined> {
  const { owner, file } = options;
  const { dockerComposeFile, service, runServices } = file.config;
  const config = substituteLocal({ dockerComposeFile, service, runServices } as DevcontainerConfig, variablesOf(owner));
  const source = sourceOf(config);
  if (source.kind !== "compose") return undefined;
  const files = source.files.map((path) => within(file, path, ["dockerComposeFile"]));
  const { project, problems } = await readComposeProject({
    ...{ files, env: owner.env },
    read: (path) => readText(options, path),
  });
  if (!project) throw problemsError(problems);
  const plan = planOf(options, project, { service: source.service, runServices: config.runServices });
  const builds = new Map<string, DockerfileSource>();
  for (const one of [plan.workspace, ...plan.services]) {
    const build = await readServiceBuild(options, project, one);
    if (build) builds.set(one.name, build);
  }
  const hashes = [...builds].map(([name, { hash }]) => [name, hash]);
  return {
    ...{ plan, builds },
    imagePlace: (name) => project.locate(["services", name, "image"]),
    notes: [...notesOf(problems, plan), ...[...builds.values()].flatMap(({ notes }) => notes)],
    hash: createHash("sha256")
      .update(JSON.stringify([plan, hashes]))
      .digest("hex"),
  };
}

/** What cannot be chosen is told where the definition chooses it, all else in the Compose file. */
function planOf(
  { file }: ReadDockerfileOptions,
  project: ComposeProject,
  choice: Parameters<typeof planCompose>[1],
): ComposePlan {
  try {
    return planCompose(project, choice);
  } catch (caught) {
    const error = DormouseError.from(caught);
    if (error.code !== "failed_precondition" || error.details.file !== undefined) throw error;
    throw fileError(placeOf(file, [error.message.startsWith("service ") ? "service" : "runServices"]), error.message);
  }
}

async function readText({ guest, owner, signal }: ReadDockerfileOptions, path: string): Promise<string | undefined> {
  if (path.startsWith("/") || path.startsWith("~") || path === ".." || path.startsWith("../")) {
    throw fileError({ file: path, line: null, column: null }, `${path} is not read: it lies outside of the repository`);
  }
  const read = remote(guest.files.read({ path: posix.join(owner.folder, path) }, { signal }));
  const found = await read.catch((error: unknown) => {
    if (DormouseError.from(error).code !== "not_found") throw error;
    return undefined;
  });
  return found && Buffer.from(found.content, "base64").toString("utf8");
}

async function readServiceBuild(
  options: ReadDockerfileOptions,
  project: ComposeProject,
  { name, build }: ComposeService,
): Promise<DockerfileSource | undefined> {
  if (!build) return undefined;
  const place = (key: string) => project.locate(["services", name, "build", key]);
  const path = build.inline === null ? posix.join(build.context, build.dockerfile) : `${place("").file}#${name}`;
  for (const [key, value] of Object.entries({ context: build.context, dockerfile: path })) {
    if (!/^(\/|~|\.\.(\/|$))/.test(value)) continue;
    throw fileError(place(key), `services.${name}.build.${key} is ${value}: it leads out of the repository`);
  }
  return await readBuild(options, {
    ...{ path, context: build.context, args: build.args, target: build.target ?? undefined, notes: [] },
    ...(build.inline !== null && { text: build.inline }),
    options: [
      ...Object.entries(build.labels).map(([label, value]) => `--label=${label}=${value}`),
      ...build.extraHosts.map((host) => `--add-host=${host}`),
    ],
    place: place("dockerfile"),
    contextPlace: place("context"),
  });
}

/** Warnings of what concerns the services that are there. */
function notesOf(problems: readonly Problem[], { workspace, services }: ComposePlan): string[] {
  const names = new Set([workspace, ...services].map(({ name }) => name));
  return problems
    .filter(({ property }) => {
      const name = /^services(?:\.([^.[]+)|\["([^"]+)"\])/.exec(property)?.slice(1).find(Boolean);
      return name === undefined || names.has(name);
    })
    .map(({ file, line, property, message }) => `${file}:${line}: ${property} ${message}`);
}
