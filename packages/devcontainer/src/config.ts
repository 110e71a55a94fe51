/** A lifecycle command: a line for a shell, a program with arguments, or several of these by name, run in parallel. */
export type LifecycleCommand = string | string[] | Record<string, string | string[]>;

/** The lifecycle's steps by their property, in the order in which they run. */
export const lifecycleHooks = [
  "initializeCommand",
  "onCreateCommand",
  "updateContentCommand",
  "postCreateCommand",
  "postStartCommand",
  "postAttachCommand",
] as const;

/** One of {@link lifecycleHooks}. */
export type LifecycleHook = (typeof lifecycleHooks)[number];

/** The steps that run in the machine: all but `initializeCommand`. */
export const machineHooks = lifecycleHooks.filter((hook) => hook !== "initializeCommand");

/** One of {@link machineHooks}. */
export type MachineHook = Exclude<LifecycleHook, "initializeCommand">;

/** How a port is treated once something listens on it. */
export interface PortAttributes {
  label?: string;
  protocol?: "http" | "https";
  onAutoForward?: "notify" | "openBrowser" | "openBrowserOnce" | "openPreview" | "silent" | "ignore";
  requireLocalPort?: boolean;
  elevateIfNeeded?: boolean;
}

/** A mount as an object; strings are read by `parseMount`. */
export interface MountObject {
  type: "bind" | "volume";
  source?: string;
  target: string;
}

/** A graphics processor that is wanted: needed, useful, or with these properties. */
export type GpuRequirement = boolean | "optional" | { cores?: number; memory?: string };

/** What a machine must offer, as it is written: sizes such as `8gb`. */
export interface HostRequirements {
  cpus?: number;
  memory?: string;
  storage?: string;
  gpu?: GpuRequirement;
}

/** A secret that a definition recommends; its name is the key it stands under. */
export interface SecretDeclaration {
  description?: string;
  documentationUrl?: string;
}

/** The value of one feature: its options, or its version alone. */
export type FeatureValue = string | Record<string, string | boolean>;

/** Which shell tells the user's environment. */
export type UserEnvProbe = "none" | "loginShell" | "loginInteractiveShell" | "interactiveShell";

/** Properties that an image's metadata and a file have in common. */
export interface CommonConfig {
  forwardPorts?: (number | string)[];
  portsAttributes?: Record<string, PortAttributes>;
  otherPortsAttributes?: PortAttributes;
  updateRemoteUserUID?: boolean;
  containerEnv?: Record<string, string>;
  containerUser?: string;
  mounts?: (string | MountObject)[];
  init?: boolean;
  privileged?: boolean;
  capAdd?: string[];
  securityOpt?: string[];
  remoteEnv?: Record<string, string | null>;
  remoteUser?: string;
  onCreateCommand?: LifecycleCommand;
  updateContentCommand?: LifecycleCommand;
  postCreateCommand?: LifecycleCommand;
  postStartCommand?: LifecycleCommand;
  postAttachCommand?: LifecycleCommand;
  waitFor?: Exclude<LifecycleHook, "postAttachCommand">;
  userEnvProbe?: UserEnvProbe;
  hostRequirements?: HostRequirements;
  overrideCommand?: boolean;
  shutdownAction?: "none" | "stopContainer" | "stopCompose";
  customizations?: Record<string, unknown>;
}

/** How an image is built. */
export interface BuildConfig {
  dockerfile?: string;
  context?: string;
  target?: string;
  args?: Record<string, string>;
  cacheFrom?: string | string[];
  options?: string[];
}

/**
 * A `devcontainer.json` that is valid: its properties as they are written, variables not yet replaced
 * ("Dev Container metadata reference").
 */
export interface DevcontainerConfig extends CommonConfig {
  $schema?: string;
  name?: string;
  image?: string;
  build?: BuildConfig;
  /** The older way to write `build.dockerfile`. */
  dockerFile?: string;
  /** Goes with `dockerFile`. */
  context?: string;
  dockerComposeFile?: string | string[];
  service?: string;
  runServices?: string[];
  workspaceFolder?: string;
  workspaceMount?: string;
  appPort?: number | string | (number | string)[];
  runArgs?: string[];
  features?: Record<string, FeatureValue>;
  overrideFeatureInstallOrder?: string[];
  secrets?: Record<string, SecretDeclaration>;
  initializeCommand?: LifecycleCommand;
}

/** One entry of an image's `devcontainer.metadata` label, or what a feature or a file gives to the merge. */
export interface MetadataEntry extends CommonConfig {
  /** The feature that it comes from. */
  id?: string;
  entrypoint?: string;
}
