import type {
  CommonConfig,
  DevcontainerConfig,
  HostRequirements,
  LifecycleCommand,
  MachineHook,
  MetadataEntry,
  MountObject,
  PortAttributes,
} from "./config.ts";
import { machineHooks } from "./config.ts";
import { maxRequirements } from "./host-requirements.ts";
import { parseMount } from "./mounts.ts";
import { withOldestForm } from "./vscode.ts";

/** A lifecycle command and where it comes from: a feature, `image` or `devcontainer.json`. */
export interface HookCommand {
  from: string;
  command: LifecycleCommand;
}

/** Metadata of an image, of features and of a file, merged ("Merge logic"). Variables are not yet replaced. */
export interface MergedConfig {
  init: boolean;
  privileged: boolean;
  capAdd: string[];
  securityOpt: string[];
  entrypoints: string[];
  mounts: (string | MountObject)[];
  /** The file's own: neither images nor features have one. */
  initializeCommand?: LifecycleCommand;
  hooks: Readonly<Record<MachineHook, readonly HookCommand[]>>;
  waitFor?: CommonConfig["waitFor"];
  /** Each tool's blocks in order: merging them is left to the tools. */
  customizations: Readonly<Record<string, readonly unknown[]>>;
  containerUser?: string;
  remoteUser?: string;
  userEnvProbe?: CommonConfig["userEnvProbe"];
  remoteEnv: Readonly<Record<string, string | null>>;
  containerEnv: Readonly<Record<string, string>>;
  overrideCommand?: boolean;
  portsAttributes: Readonly<Record<string, PortAttributes>>;
  otherPortsAttributes?: PortAttributes;
  forwardPorts: (number | string)[];
  shutdownAction?: CommonConfig["shutdownAction"];
  updateRemoteUserUID?: boolean;
  hostRequirements: HostRequirements;
}

/** What is merged, the first to be overruled by what follows. */
export interface MergeInput {
  /** Entries of the image's label, as `parseImageMetadata` gives them. */
  image?: readonly MetadataEntry[];
  /** Entries of features, in the order in which they are installed. */
  features?: readonly MetadataEntry[];
  config: DevcontainerConfig;
}

/** Merges an image's metadata, features and a file, in this order ("Merge logic": the file is considered last). */
export function mergeConfig({ image = [], features = [], config }: MergeInput): MergedConfig {
  const parts = [
    ...image.map((entry) => mergeable(entry, entry.id ?? "image")),
    ...features.map((entry) => mergeable(entry, entry.id ?? "feature")),
    mergeable(config, "devcontainer.json"),
  ];
  const merged = parts.reduce(combine);
  return config.initializeCommand === undefined ? merged : { ...merged, initializeCommand: config.initializeCommand };
}

/** One entry in merged form. */
export function mergeable(written: MetadataEntry, from: string): MergedConfig {
  const entry = withOldestForm(written);
  const { waitFor, containerUser, remoteUser, userEnvProbe, overrideCommand } = entry;
  const { otherPortsAttributes, shutdownAction, updateRemoteUserUID } = entry;
  return {
    init: entry.init ?? false,
    privileged: entry.privileged ?? false,
    capAdd: [...new Set(entry.capAdd)],
    securityOpt: [...new Set(entry.securityOpt)],
    entrypoints: entry.entrypoint === undefined ? [] : [entry.entrypoint],
    mounts: lastOfEach(entry.mounts ?? [], mountKey),
    hooks: hooksOf((hook) => {
      const command = entry[hook];
      return command === undefined || command.length === 0 ? [] : [{ from, command }];
    }),
    customizations: Object.fromEntries(
      Object.entries(entry.customizations ?? {}).map(([tool, block]) => [tool, [block]]),
    ),
    remoteEnv: entry.remoteEnv ?? {},
    containerEnv: entry.containerEnv ?? {},
    portsAttributes: entry.portsAttributes ?? {},
    forwardPorts: lastOfEach(entry.forwardPorts ?? [], portKey),
    hostRequirements: entry.hostRequirements ?? {},
    ...defined({ waitFor, containerUser, remoteUser, userEnvProbe, overrideCommand }),
    ...defined({ otherPortsAttributes, shutdownAction, updateRemoteUserUID }),
  };
}

/** Merges two merged configurations. It does not matter which neighbours of a longer list are merged first. */
export function combine(a: MergedConfig, b: MergedConfig): MergedConfig {
  return {
    // All properties of which the last value wins; the others follow.
    ...a,
    ...b,
    init: a.init || b.init,
    privileged: a.privileged || b.privileged,
    capAdd: [...new Set([...a.capAdd, ...b.capAdd])],
    securityOpt: [...new Set([...a.securityOpt, ...b.securityOpt])],
    entrypoints: [...a.entrypoints, ...b.entrypoints],
    mounts: lastOfEach([...a.mounts, ...b.mounts], mountKey),
    hooks: hooksOf((hook) => [...a.hooks[hook], ...b.hooks[hook]]),
    customizations: combineCustomizations(a.customizations, b.customizations),
    remoteEnv: { ...a.remoteEnv, ...b.remoteEnv },
    containerEnv: { ...a.containerEnv, ...b.containerEnv },
    portsAttributes: { ...a.portsAttributes, ...b.portsAttributes },
    forwardPorts: lastOfEach([...a.forwardPorts, ...b.forwardPorts], portKey),
    hostRequirements: maxRequirements(a.hostRequirements, b.hostRequirements),
  };
}

function hooksOf(commandsOf: (hook: MachineHook) => HookCommand[]): Record<MachineHook, HookCommand[]> {
  return Object.fromEntries(machineHooks.map((hook) => [hook, commandsOf(hook)])) as Record<MachineHook, HookCommand[]>;
}

function combineCustomizations(a: MergedConfig["customizations"], b: MergedConfig["customizations"]) {
  const blocks = new Map(Object.entries(a));
  for (const [tool, more] of Object.entries(b)) blocks.set(tool, [...(blocks.get(tool) ?? []), ...more]);
  return Object.fromEntries(blocks);
}

/** A list in which each key stands once, at its first place and with its last value. */
function lastOfEach<T>(values: readonly T[], keyOf: (value: T) => string): T[] {
  return [...new Map(values.map((value) => [keyOf(value), value])).values()];
}

function mountKey(mount: string | MountObject): string {
  try {
    return parseMount(mount).target;
  } catch {
    // What cannot be read collides with nothing but itself; whoever mounts it reports it.
    return String(mount);
  }
}

/** A number means a port of the container itself. */
function portKey(port: number | string): string {
  return typeof port === "number" ? `localhost:${port}` : port;
}

function defined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
