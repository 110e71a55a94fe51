import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError, formatBytes } from "@dormouse/base";
import type { FeatureSource, ImageInfo, Resources } from "@dormouse/contract";
import {
  attributesOf,
  customizationsOf,
  type DevcontainerConfig,
  type FeatureContents,
  type FeatureNode,
  type FeatureReference,
  featureEntry,
  imageMetadataLabel,
  installationOrder,
  lifecyclePlan,
  lockedFeature,
  type MergedConfig,
  type MetadataEntry,
  type Mount,
  mergeConfig,
  missingResources,
  parseFeatureMetadata,
  parseFeatureReference,
  parseForwardedPort,
  parseHostRequirements,
  parseImageMetadata,
  parseMount,
  sourceOf,
  usersOf,
  workspaceOf,
} from "@dormouse/devcontainer";
import { type GuestClient, type HostConnection, remote } from "../host/client.ts";
import type { Definition } from "./definition.ts";
import { fileError, type VariableOwner, variablesOf } from "./definition.ts";
import type { DockerfileSource } from "./dockerfile-source.ts";
import type { DefinitionFile, FeatureFile } from "./read.ts";

/** A feature to be installed, with all that its script needs. */
export interface FeatureInstallation {
  /** As people know it. */
  name: string;
  /** Changes with whatever of it changes. */
  digest: string;
  files: FeatureFile[];
  /** Its options. */
  options: Readonly<Record<string, string>>;
  /** What it adds to the image's environment; may name what is there as `${NAME}`. */
  containerEnv: Readonly<Record<string, string>>;
}

/** An image, and the name under which a host makes machines of it for good. */
export type ResolvedImage = ImageInfo & {
  /** `REPOSITORY@DIGEST`, or the digest alone of one that was built. */
  exact: string;
};

/** What a definition comes to, once images and features were asked for. */
export interface ResolvedDefinition {
  /** Null: the image that ships with the product. */
  image: ResolvedImage | null;
  /** Environment of the image. */
  imageEnv: Record<string, string>;
  features: FeatureInstallation[];
  users: { containerUser: string; remoteUser: string };
  resources: Resources;
  /** Where the repository is to lie. */
  folder: string;
  /** All of the definition but its start. */
  definition: Omit<
    Definition,
    "start" | "imageEnv" | "stage" | "wanted" | "carried" | "done" | "template" | "hasRepository" | "isPrebuild"
  >;
}

/** What {@link resolveDefinition} works with. */
export interface ResolveOptions {
  host: HostConnection;
  /** The machine that the file was read in. */
  guest: GuestClient;
  file: DefinitionFile;
  owner: VariableOwner;
  /** What the workspace has, at least. */
  resources: Resources;
  defaultNamespace: string | undefined;
  /** Makes the image of a Dockerfile. */
  buildImage(source: DockerfileSource): Promise<ResolvedImage>;
  onProgress: (progress: { step: string; message: string }) => void;
  signal: AbortSignal;
}

/** Of the image that ships with the product. */
const baseUser = "dev";
/** The repository takes the place of what is in its folder. */
const systemFolders = new Set(
  "/ /bin /boot /dev /etc /home /lib /lib64 /opt /proc /root /run /sbin /sys /tmp /usr /var /var/tmp /workspaces".split(
    " ",
  ),
);
const gib = 1024 ** 3;
const mib = 1024 ** 2;

/**
 * Finds out what a definition comes to: asks registries for the image and the features, orders and merges, and looks
 * whether the host can hold it. Pulls nothing; an image that is to be built is built, since it says itself what is in it.
 * @throws DormouseError naming the property, image or feature that is wrong or cannot be had.
 */
export async function resolveDefinition(options: ResolveOptions): Promise<ResolvedDefinition> {
  const { host, file, owner, signal } = options;
  const { config } = file;
  const source = sourceOf(config);
  if (source.kind === "compose") {
    throw fileError(
      { file: file.path, line: null, column: null },
      "dockerComposeFile cannot be used yet: name an image or a Dockerfile, or nothing",
    );
  }
  // Before a long build: what is wrong with them is known sooner.
  const order = await orderFeatures(options);
  const image = file.dockerfile
    ? await options.buildImage(file.dockerfile)
    : source.kind === "image"
      ? await resolveImage(options, source.image)
      : null;
  const entries = order.map(({ node }) => featureEntry(node.reference.text, node.metadata));
  const merged = mergeConfig({ image: image ? metadataOf(image) : [], features: entries, config });
  const users = usersOf(merged, image ? withoutGroup(image.user) : baseUser);
  const resources = await fitResources(host, merged, options.resources, signal);
  const mounts = merged.mounts.map(parseMount);
  const { folder, notes } = placeOf(config, owner);
  return {
    image,
    imageEnv: image ? image.env : await baseEnvironment(options),
    features: order.map(({ node, digest, files }) => ({
      name: node.reference.text,
      digest,
      files,
      options: node.resolved.environment,
      containerEnv: node.metadata.containerEnv ?? {},
    })),
    users,
    resources,
    folder,
    definition: {
      path: file.path,
      source: file.source,
      user: users.remoteUser,
      containerEnv: { ...merged.containerEnv },
      remoteEnv: { ...merged.remoteEnv },
      userEnvProbe: merged.userEnvProbe ?? "loginInteractiveShell",
      steps: lifecyclePlan(merged).steps.filter(({ runsIn, tasks }) => runsIn === "machine" && tasks.length > 0),
      entrypoints: merged.entrypoints,
      folders: mounts.filter(({ type }) => type !== "bind").map(({ target }) => target),
      ports: merged.forwardPorts.flatMap((entry) => {
        const port = parseForwardedPort(entry);
        return port.host === "localhost" ? [{ port: port.port, label: attributesOf(merged, port).label ?? null }] : [];
      }),
      dotfiles: customizationsOf(merged).dotfiles ?? null,
      egress: customizationsOf(merged).egress?.allow ?? [],
      notes: [
        ...(file.dockerfile?.notes ?? []),
        ...notes,
        ...notesOf(merged, mounts),
        ...missingSecrets(config, owner),
      ],
      problem: null,
    },
  };
}

/**
 * Where the repository is to lie. What opens a folder inside of it opens all of it here; what opens another one, without
 * saying what is mounted there, has it there.
 */
function placeOf(config: DevcontainerConfig, owner: VariableOwner): { folder: string; notes: string[] } {
  const { folder, mount } = workspaceOf(config, { ...variablesOf(owner), defaultFolder: owner.folder });
  const place = posix.normalize(mount?.target ?? (folder.startsWith(`${owner.folder}/`) ? owner.folder : folder));
  const opened = posix.normalize(folder);
  if (systemFolders.has(place.replace(/(.)\/$/, "$1")) || !place.startsWith("/")) {
    throw new DormouseError(
      "failed_precondition",
      `${mount ? "workspaceMount" : "workspaceFolder"} is ${JSON.stringify(place)}: must be a folder of its own, such as ${owner.folder}`,
    );
  }
  const isAll = opened === place || opened === `${place}/`;
  const notes = isAll ? [] : [`workspaceFolder: all of the repository is opened, ${place}, not ${opened}`];
  return { folder: place.replace(/(.)\/$/, "$1"), notes };
}

async function resolveImage(
  { host, owner, onProgress, signal }: ResolveOptions,
  written: string,
): Promise<ResolvedImage> {
  // The one property of these that decides what is pulled may have variables too.
  const reference = substituteImage(written, owner);
  onProgress({ step: "image", message: `Asking for the image ${reference}` });
  const image = await remote(host.calls.images.resolve({ reference }, { signal }));
  return { ...image, exact: `${withoutTag(reference)}@${image.digest}` };
}

/** What the image that ships with the product says itself: a file that every process's environment comes from. */
async function baseEnvironment({ guest, signal }: ResolveOptions): Promise<Record<string, string>> {
  const { content } = await remote(guest.files.read({ path: "/etc/environment" }, { signal }));
  const lines = Buffer.from(content, "base64")
    .toString("utf8")
    .matchAll(/^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/gm);
  return Object.fromEntries([...lines].map(([, name = "", value = ""]) => [name, value]));
}

function substituteImage(written: string, owner: VariableOwner): string {
  return written.replace(/\$\{localEnv:([A-Za-z_][A-Za-z0-9_]*)(?::([^}]*))?\}/g, (_, name: string, fallback = "") =>
    owner.env[name] !== undefined ? owner.env[name] : fallback,
  );
}

/** The repository of a reference: what stands before tag and digest. */
export function withoutTag(reference: string): string {
  const [name = ""] = reference.split("@");
  return name.replace(/:[^:/]*$/, "");
}

function withoutGroup(user: string): string {
  return user.split(":")[0] || "root";
}

/** Errors in an image's own metadata keep nobody out: the image works without. */
function metadataOf(image: ImageInfo): MetadataEntry[] {
  const label = image.labels[imageMetadataLabel];
  return label === undefined ? [] : (parseImageMetadata(label).entries ?? []);
}

interface Fetched extends FeatureContents {
  digest: string;
  files: FeatureFile[];
}

async function orderFeatures(
  options: ResolveOptions,
): Promise<{ node: FeatureNode; digest: string; files: FeatureFile[] }[]> {
  const { file, defaultNamespace } = options;
  const { features = {}, overrideFeatureInstallOrder = [] } = file.config;
  const naming = defaultNamespace === undefined ? {} : { defaultNamespace };
  const fetched = new Map<string, Fetched>();
  const waiting = Object.keys(features);
  for (let identifier = waiting.shift(); identifier !== undefined; identifier = waiting.shift()) {
    const reference = parseFeatureReference(identifier, naming);
    if (fetched.has(reference.text)) continue;
    const feature = await fetchFeature(options, reference);
    fetched.set(reference.text, feature);
    waiting.push(...Object.keys(feature.metadata.dependsOn ?? {}));
  }
  const order = installationOrder({
    ...naming,
    features,
    overrideFeatureInstallOrder,
    lookup: ({ text }) => fetched.get(text),
  });
  return order.map((node) => {
    const { digest, files } = fetched.get(node.reference.text) ?? { digest: "", files: [] };
    return { node, digest, files };
  });
}

async function fetchFeature(options: ResolveOptions, reference: FeatureReference): Promise<Fetched> {
  const { host, file, onProgress, signal } = options;
  if (reference.kind === "local") {
    const local = file.localFeatures.get(reference.text);
    if (!local) throw new DormouseError("not_found", `feature ${reference.text}: there is no such folder`);
    const digest = createHash("sha256").update(JSON.stringify(local.files)).digest("hex");
    return { metadata: local.metadata, digest, files: local.files };
  }
  onProgress({ step: "features", message: `Fetching the feature ${reference.text}` });
  const locked = file.lockfile && lockedFeature(file.lockfile, reference);
  const source = sourceOfFeature(reference, locked?.integrity);
  const { digest, files } = await remote(host.calls.features.fetch(source, { signal }));
  if (locked && digest !== locked.integrity) {
    throw new DormouseError(
      "failed_precondition",
      `feature ${reference.text} is ${digest}: the lock file holds it to ${locked.integrity} (${locked.version})`,
    );
  }
  const text = files.find(({ path }) => path === "devcontainer-feature.json")?.content;
  if (text === undefined) {
    throw new DormouseError("failed_precondition", `feature ${reference.text} has no devcontainer-feature.json`);
  }
  const path = `${reference.text}/devcontainer-feature.json`;
  const { metadata, problems } = parseFeatureMetadata(Buffer.from(text, "base64").toString("utf8"), { path });
  if (metadata) return { metadata, digest, files };
  const [problem] = problems;
  throw new DormouseError(
    "failed_precondition",
    `feature ${reference.text}: its devcontainer-feature.json is wrong: ${problem?.property ?? ""} ${problem?.message ?? ""}`,
  );
}

/** With the digest that a lock file holds it to, its tag means nothing. */
function sourceOfFeature(
  reference: Exclude<FeatureReference, { kind: "local" }>,
  locked: string | undefined,
): FeatureSource {
  if (reference.kind === "tarball") return { kind: "tarball", url: reference.url };
  const { registry, namespace, id, tag, digest = locked } = reference;
  return { kind: "registry", registry, namespace, id, ...(digest ? { digest } : { tag: tag ?? "latest" }) };
}

/** As much as the workspace has, or as much more as is asked for. @throws DormouseError `resource_exhausted`. */
async function fitResources(
  host: HostConnection,
  merged: MergedConfig,
  given: Resources,
  signal: AbortSignal,
): Promise<Resources> {
  const needs = parseHostRequirements(merged.hostRequirements);
  const { cpus = 0, memoryBytes = 0, storageBytes = 0 } = needs;
  const resources = {
    vcpus: Math.max(given.vcpus, Math.ceil(cpus)),
    memoryMib: Math.max(given.memoryMib, Math.ceil(memoryBytes / mib)),
    diskGib: Math.max(given.diskGib, Math.ceil(storageBytes / gib)),
  };
  if (cpus === 0 && memoryBytes === 0 && storageBytes === 0 && needs.gpu !== "required") return resources;
  const { vcpus, memoryMib, diskFreeBytes } = await remote(host.calls.capacity({}, { signal }));
  const missing = missingResources(needs, {
    cpus: vcpus.total,
    memoryBytes: memoryMib.total * mib,
    storageBytes: diskFreeBytes,
  });
  if (missing.length === 0) return resources;
  throw new DormouseError(
    "resource_exhausted",
    `hostRequirements: ${missing.map(({ message }) => message).join("; ")} on this host ` +
      `(${vcpus.total} processors, ${formatBytes(memoryMib.total * mib)} of memory)`,
  );
}

/** A volume is a folder of the machine's own drive; nothing of a host can be mounted. */
function notesOf(merged: MergedConfig, mounts: readonly Mount[]): string[] {
  const binds = mounts.filter(({ type }) => type === "bind");
  return [
    ...binds.map(({ target }) => `mounts: nothing is mounted at ${target}: a machine has no folder of its host's`),
    ...(merged.initializeCommand === undefined
      ? []
      : ["initializeCommand: not run: it is meant for the host, which runs no command of a repository"]),
  ];
}

/** A definition may say which variables its repository works with; their values come with the workspace. */
function missingSecrets({ secrets = {} }: DevcontainerConfig, { env }: VariableOwner): string[] {
  return Object.entries(secrets)
    .filter(([name]) => env[name] === undefined)
    .map(([name, { description }]) => {
      const what = description ? ` (${description.trim().replace(/\s+/g, " ").replace(/\.$/, "")})` : "";
      return `secrets: ${name}${what} is recommended and not set: create the workspace with -e ${name}=…`;
    });
}
