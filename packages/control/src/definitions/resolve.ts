import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DormouseError, formatBytes } from "@dormouse/base";
import type { FeatureSource, ImageInfo, Resources } from "@dormouse/contract";
import {
  type ComposeService,
  compareLockfile,
  composeFolder,
  customizationsOf,
  type DevcontainerConfig,
  type FeatureContents,
  type FeatureNode,
  type FeatureReference,
  featureEntry,
  hostsOfWorkspace,
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
  serviceRuns,
  sourceOf,
  substituteLocal,
  usersOf,
  vscodeOf,
  workspaceOf,
} from "@dormouse/devcontainer";
import { type GuestClient, type HostConnection, remote } from "../host/client.ts";
import { scheduleNotes } from "../prebuilds/schedule.ts";
import type { ComposeSource } from "./compose-source.ts";
import type { Definition } from "./definition.ts";
import { fileError, type VariableOwner, variablesOf } from "./definition.ts";
import type { DockerfileSource } from "./dockerfile-source.ts";
import { portRulesOf } from "./ports.ts";
import type { DefinitionFile, FeatureFile } from "./read.ts";
import { type Services, serviceImageName } from "./services.ts";

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
  /** Of the services that run beside the workspace, as machines are made of images. */
  serviceImages: string[];
  /** All of the definition but its start. */
  definition: Omit<
    Definition,
    | "start"
    | "imageEnv"
    | "stage"
    | "wanted"
    | "carried"
    | "done"
    | "attached"
    | "template"
    | "prebuilt"
    | "kept"
    | "hasRepository"
    | "isPrebuild"
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
  const { compose } = file;
  // Before a long build: what is wrong with them is known sooner.
  const order = await orderFeatures(options);
  const image = file.dockerfile
    ? await options.buildImage(file.dockerfile)
    : source.kind === "image"
      ? await resolveImage(options, source.image)
      : compose
        ? await resolveServiceImage(options, compose, compose.plan.workspace)
        : null;
  const entries = order.map(({ node }) => featureEntry(node.reference.text, node.metadata));
  const merged = mergeConfig({ image: image ? metadataOf(image) : [], features: entries, config });
  const composeUser = compose?.plan.workspace.user;
  const users = usersOf(merged, withoutGroup(composeUser ?? (image ? image.user : baseUser)));
  const resources = await fitResources(host, merged, options.resources, signal);
  const mounts = merged.mounts.map(parseMount);
  const { folder, notes } = placeOf(file, owner);
  const forwarded = merged.forwardPorts.map(parseForwardedPort);
  const services = compose ? await resolveServices(options, compose, { folder, forwarded }) : null;
  const customizations = customizationsOf(merged);
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
    serviceImages: services?.images ?? [],
    definition: {
      path: file.path,
      source: file.source,
      user: users.remoteUser,
      containerEnv: { ...compose?.plan.workspace.environment, ...merged.containerEnv },
      remoteEnv: { ...merged.remoteEnv },
      userEnvProbe: merged.userEnvProbe ?? "loginInteractiveShell",
      steps: lifecyclePlan(merged).steps.filter(({ runsIn, tasks }) => runsIn === "machine" && tasks.length > 0),
      entrypoints: merged.entrypoints,
      folders: [...mounts, ...(compose?.plan.workspace.mounts ?? [])]
        .filter(({ type }) => type !== "bind")
        .map(({ target }) => target),
      ports: portRulesOf(merged, config, customizations),
      services: services && { runs: services.runs, awaited: services.awaited, hosts: services.hosts },
      vscode: vscodeOf(merged),
      dotfiles: customizations.dotfiles ?? null,
      prebuild: customizations.prebuild ?? null,
      egress: customizations.egress?.allow ?? [],
      notes: [
        ...(compose ? [...compose.notes, ...workspaceNotes(compose, owner.folder)] : (file.dockerfile?.notes ?? [])),
        ...notes,
        ...notesOf(config, merged, mounts),
        ...missingSecrets(config, owner),
        ...unlocked(file, order),
        ...scheduleNotes(customizations.prebuild?.trigger ?? [], new Date()),
      ],
      problem: null,
    },
  };
}

/**
 * Where the repository is to lie. What opens a folder inside of it opens all of it here; what opens another one, without
 * saying what is mounted there, has it there.
 */
function placeOf({ config, compose }: DefinitionFile, owner: VariableOwner): { folder: string; notes: string[] } {
  const mounted = compose && composeFolder(compose.plan, owner.folder);
  // Without a folder Compose opens all of the machine; here it is the repository that is opened.
  const workspaceFolder = config.workspaceFolder ?? (compose ? (mounted ?? owner.folder) : undefined);
  const written = workspaceFolder === undefined ? config : { ...config, workspaceFolder };
  const { folder, mount } = workspaceOf(written, { ...variablesOf(owner), defaultFolder: owner.folder });
  const isInside = (outer: string) => folder === outer || folder.startsWith(`${outer}/`);
  const around = [mounted, owner.folder].find((outer) => outer !== undefined && isInside(outer));
  const place = posix.normalize(mount?.target ?? around ?? folder);
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

/** Of a service: built, or asked for under its name. What is wrong with the name is told where it stands. */
async function resolveServiceImage(
  options: ResolveOptions,
  compose: ComposeSource,
  { name, image }: ComposeService,
): Promise<ResolvedImage> {
  const build = compose.builds.get(name);
  if (build) return await options.buildImage(build);
  const reference = image ?? "";
  options.onProgress({ step: "image", message: `Asking for the image ${reference} of the service ${name}` });
  const found = remote(options.host.calls.images.resolve({ reference }, { signal: options.signal }));
  const resolved = await found.catch((caught: unknown) => {
    const error = DormouseError.from(caught);
    if (options.signal.aborted || error.code === "unavailable") throw error;
    const place = compose.imagePlace(name);
    throw fileError(place, `${place.file}:${place.line}: service ${name}: ${error.message}`);
  });
  return { ...resolved, exact: `${withoutTag(reference)}@${resolved.digest}` };
}

async function resolveServices(
  options: ResolveOptions,
  compose: ComposeSource,
  place: { folder: string; forwarded: readonly { host: string; port: number }[] },
): Promise<Services & { images: string[] }> {
  const { plan } = compose;
  const images = new Map<string, string>();
  for (const service of plan.services) {
    images.set(service.name, (await resolveServiceImage(options, compose, service)).exact);
  }
  return {
    runs: serviceRuns(plan, place).map((run) => ({ ...run, image: serviceImageName(images.get(run.name) ?? "") })),
    awaited: plan.workspace.dependsOn,
    hosts: hostsOfWorkspace(plan),
    images: [...new Set(images.values())].sort(),
  };
}

/** A command that only keeps a container alive; a machine lives without. */
const idleCommand = /^$|^(\/bin\/)?(cat|(ba|da|z)?sh)$|\bsleep\b|\btail -[fF]\b/;

/** What the workspace's own service says and a machine does not do. */
function workspaceNotes({ plan: { workspace } }: ComposeSource, folder: string): string[] {
  const { name, command, entrypoint, mounts } = workspace;
  const words = [...(entrypoint ?? []), ...(command ?? [])].join(" ");
  const others = mounts.filter(({ type, source }) => {
    const path = type === "bind" && source !== null ? posix.resolve(folder, source) : folder;
    return path !== folder && !folder.startsWith(path === "/" ? path : `${path}/`);
  });
  return [
    ...(idleCommand.test(words) ? [] : [`service ${name}: its command is not run: it is the workspace`]),
    ...others.map(
      ({ target }) => `service ${name}: nothing is mounted at ${target}: the repository lies in its folder`,
    ),
  ];
}

async function resolveImage(
  { host, owner, onProgress, signal }: ResolveOptions,
  written: string,
): Promise<ResolvedImage> {
  // The one property of these that decides what is pulled may have variables too.
  const reference = substituteLocal(written, variablesOf(owner));
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

/** What features are found with. */
export type FeatureOptions = Pick<ResolveOptions, "host" | "file" | "defaultNamespace" | "onProgress" | "signal">;

/**
 * The features of a definition in the order of their installation, fetched: as its lock file holds them, if it has one.
 * @throws DormouseError naming the feature that is wrong, cannot be had, or is not what the lock file says.
 */
export async function orderFeatures(
  options: FeatureOptions,
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

async function fetchFeature(options: FeatureOptions, reference: FeatureReference): Promise<Fetched> {
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
function notesOf({ runArgs = [] }: DevcontainerConfig, merged: MergedConfig, mounts: readonly Mount[]): string[] {
  const binds = mounts.filter(({ type }) => type === "bind");
  return [
    ...binds.map(({ target }) => `mounts: nothing is mounted at ${target}: a machine has no folder of its host's`),
    ...(runArgs.length === 0
      ? []
      : [`runArgs: not used (${runArgs.join(" ")}): a machine is started by no container tool`]),
    ...(merged.initializeCommand === undefined
      ? []
      : ["initializeCommand: not run: it is meant for the host, which runs no command of a repository"]),
  ];
}

/** A lock file that says nothing of a feature lets it be another one tomorrow. */
function unlocked({ lockfile }: DefinitionFile, order: readonly { node: FeatureNode }[]): string[] {
  if (!lockfile) return [];
  const nodes = order.map(({ node }) => node);
  const missing = compareLockfile(lockfile, nodes).filter(({ kind }) => kind === "missing");
  return missing.map(({ message }) => `features: ${message}; dormouse devcontainer lock adds it`);
}

/** A definition may say which variables its repository works with; their values come with the workspace. */
function missingSecrets({ secrets = {} }: DevcontainerConfig, { env }: VariableOwner): string[] {
  return Object.entries(secrets)
    .filter(([name]) => env[name] === undefined)
    .map(([name, { description = "", documentationUrl = "" }]) => {
      const said = [description.trim().replace(/\s+/g, " ").replace(/\.$/, ""), documentationUrl.trim()].filter(
        Boolean,
      );
      const what = said.length > 0 ? ` (${said.join("; ")})` : "";
      return `secrets: ${name}${what} is recommended and not set: create the workspace with -e ${name}=…`;
    });
}
