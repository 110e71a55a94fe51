import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import {
  chooseConfig,
  type DevcontainerConfig,
  type FeatureMetadata,
  findConfigs,
  type Lockfile,
  lockfilePath,
  parseConfig,
  parseFeatureMetadata,
  parseFeatureReference,
  parseLockfile,
} from "@dormouse/devcontainer";
import { type GuestClient, remote } from "../host/client.ts";
import { type ComposeSource, readCompose } from "./compose-source.ts";
import { fileError, problemsError, type VariableOwner } from "./definition.ts";
import { type DockerfileSource, readDockerfile } from "./dockerfile-source.ts";

/** A file of a feature. */
export interface FeatureFile {
  /** Relative to the feature's folder. */
  path: string;
  mode: number;
  /** Base64. */
  content: string;
}

/** A feature that lies beside the file. */
export interface LocalFeature {
  metadata: FeatureMetadata;
  files: FeatureFile[];
}

/** A repository's definition, as it lies in a machine. */
export interface DefinitionFile {
  /** Relative to the repository. */
  path: string;
  config: DevcontainerConfig;
  /** By the text of their reference. */
  localFeatures: Map<string, LocalFeature>;
  /** What its features are held to. */
  lockfile: Lockfile | undefined;
  /** What its image is built of, when it is. */
  dockerfile: DockerfileSource | undefined;
  /** The services that it is one of. */
  compose: ComposeSource | undefined;
  /** SHA-256 over all of it. */
  source: string;
}

/** How {@link readDefinition} reads. */
export interface ReadOptions {
  guest: GuestClient;
  /** The repository's folder, and what variables mean in it. */
  owner: VariableOwner;
  wanted: string | null;
  defaultNamespace: string | undefined;
  signal: AbortSignal;
}

/** A feature's folder is small: its script, its metadata, some files. */
const featureLimits = { files: 500, bytes: 16 * 1024 * 1024, depth: 8 };

/**
 * Reads the definition of the repository in a machine; undefined when it has none.
 * @throws DormouseError `failed_precondition` with `details` naming file, line and column for what is wrong in it,
 *   `not_found` for one that was wanted by name and is not there.
 */
export async function readDefinition(options: ReadOptions): Promise<DefinitionFile | undefined> {
  const { guest, owner, wanted, defaultNamespace, signal } = options;
  const { folder } = owner;
  const found = findConfigs(await candidates(guest, folder, signal));
  if (found.length === 0 && wanted === null) return undefined;
  const { path } = chooseConfig(found, wanted ?? undefined);
  const text = await readText(guest, `${folder}/${path}`, signal);
  const { config, problems } = parseConfig(text, { path, ...(defaultNamespace !== undefined && { defaultNamespace }) });
  if (!config) throw problemsError(problems);
  const source = createHash("sha256").update(path).update("\0").update(text);
  const localFeatures = new Map<string, LocalFeature>();
  const addFeature = async (identifier: string): Promise<void> => {
    if (!/^\.{0,2}\//.test(identifier)) return;
    const { text: reference } = parseFeatureReference(identifier);
    if (localFeatures.has(reference)) return;
    const place = posix.join(posix.dirname(path), reference);
    const feature = await readFeature({ guest, root: folder, place, signal });
    localFeatures.set(reference, feature);
    for (const file of feature.files) source.update(`\0${reference}/${file.path} ${file.mode}\0${file.content}`);
    for (const needed of Object.keys(feature.metadata.dependsOn ?? {})) await addFeature(needed);
  };
  for (const identifier of Object.keys(config.features ?? {})) await addFeature(identifier);
  const reading = { guest, owner, file: { path, text, config }, signal };
  const compose = await readCompose(reading);
  if (compose) source.update(`\0${compose.hash}`);
  const dockerfile = compose ? compose.builds.get(compose.plan.workspace.name) : await readDockerfile(reading);
  if (dockerfile) source.update(`\0${dockerfile.hash}`);
  const lock = await readLockfile(guest, folder, lockfilePath(path), signal);
  if (lock) source.update(`\0${lock.text}`);
  return { path, config, localFeatures, lockfile: lock?.lockfile, dockerfile, compose, source: source.digest("hex") };
}

async function readLockfile(guest: GuestClient, folder: string, path: string, signal: AbortSignal) {
  const { exists } = await remote(guest.files.exists({ path: `${folder}/${path}` }, { signal }));
  if (!exists) return undefined;
  const text = await readText(guest, `${folder}/${path}`, signal);
  // An empty one asks to be written, as other tools have it.
  if (text.trim() === "") return undefined;
  const { lockfile, problems } = parseLockfile(text, { path });
  if (!lockfile) throw problemsError(problems);
  return { text, lockfile };
}

async function candidates(guest: GuestClient, folder: string, signal: AbortSignal): Promise<string[]> {
  const exists = async (path: string) =>
    (await remote(guest.files.exists({ path: `${folder}/${path}` }, { signal }))).exists;
  const paths = [".devcontainer.json"];
  if (await exists(".devcontainer")) {
    paths.push(".devcontainer/devcontainer.json");
    const { entries } = await remote(guest.files.list({ path: `${folder}/.devcontainer` }, { signal }));
    for (const { name, type } of entries)
      if (type === "directory") paths.push(`.devcontainer/${name}/devcontainer.json`);
  }
  const present = await Promise.all(paths.map(exists));
  return paths.filter((_, index) => present[index]);
}

async function readText(guest: GuestClient, path: string, signal: AbortSignal): Promise<string> {
  return Buffer.from((await remote(guest.files.read({ path }, { signal }))).content, "base64").toString("utf8");
}

async function readFeature(options: {
  guest: GuestClient;
  root: string;
  place: string;
  signal: AbortSignal;
}): Promise<LocalFeature> {
  const { guest, root, place, signal } = options;
  const metadataPath = `${place}/devcontainer-feature.json`;
  const text = await readText(guest, `${root}/${metadataPath}`, signal).catch((error: unknown) => {
    if (DormouseError.from(error).code !== "not_found") throw error;
    throw fileError({ file: metadataPath, line: null, column: null }, `there is no ${metadataPath}`);
  });
  const { metadata, problems } = parseFeatureMetadata(text, { path: metadataPath });
  if (!metadata) throw problemsError(problems);
  const files: FeatureFile[] = [];
  let bytes = 0;
  const visit = async (below: string, depth: number): Promise<void> => {
    const { entries } = await remote(guest.files.list({ path: posix.join(root, place, below) }, { signal }));
    for (const { name, type, size, mode } of entries) {
      const path = posix.join(below, name);
      bytes += size;
      if (files.length >= featureLimits.files || bytes > featureLimits.bytes || depth > featureLimits.depth) {
        throw fileError(
          { file: place, line: null, column: null },
          `the feature ${place} is too large: at most ${featureLimits.files} files with 16 MiB together`,
        );
      }
      if (type === "directory") await visit(path, depth + 1);
      if (type !== "file") continue;
      const { content } = await remote(guest.files.read({ path: posix.join(root, place, path) }, { signal }));
      files.push({ path, mode, content });
    }
  };
  await visit("", 0);
  return { metadata, files: files.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}
