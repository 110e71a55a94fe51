export { type ComposePlan, planCompose, servicesNetwork } from "./compose/plan.ts";
export { type ComposeProject, readComposeProject } from "./compose/project.ts";
export { composeFolder, hostsOfWorkspace, networkName, type ServiceRun, serviceRuns } from "./compose/run.ts";
export type { ComposeService } from "./compose/service.ts";
export type {
  BuildConfig,
  CommonConfig,
  DevcontainerConfig,
  FeatureValue,
  GpuRequirement,
  HostRequirements,
  LifecycleCommand,
  LifecycleHook,
  MachineHook,
  MetadataEntry,
  MountObject,
  PortAttributes,
  SecretDeclaration,
  UserEnvProbe,
} from "./config.ts";
export { lifecycleHooks } from "./config.ts";
export {
  customizationsOf,
  type DormouseCustomizations,
  type PortVisibility,
  type PrebuildTrigger,
} from "./customizations.ts";
export { type DockerfileNeeds, dockerfileNeeds, findStep } from "./dockerfile.ts";
export { type DockerfileSegment, dockerfileSegments } from "./dockerfile-segments.ts";
export type { DockerfileOptions, DockerfileStep } from "./dockerfile-stages.ts";
export { type JsonPath, locate, type TextPosition } from "./document.ts";
export {
  buildGraph,
  equalFeatures,
  type FeatureContents,
  type FeatureLookup,
  type FeatureNode,
} from "./features/graph.ts";
export {
  compareLockfile,
  formatLockfile,
  type LockDifference,
  type LockedFeature,
  type Lockfile,
  lockedFeature,
  lockfileOf,
  lockfilePath,
  parseLockfile,
  updateLockfile,
} from "./features/lockfile.ts";
export { type FeatureMetadata, type FeatureOption, featureEntry, parseFeatureMetadata } from "./features/metadata.ts";
export {
  type FeatureOptions,
  optionEnvironmentName,
  type ResolvedOptions,
  resolveOptions,
} from "./features/options.ts";
export { installationOrder, type OrderOptions } from "./features/order.ts";
export { type FeatureReference, parseFeatureReference, type ReferenceOptions } from "./features/reference.ts";
export { chooseConfig, type FoundConfig, findConfigs } from "./find.ts";
export {
  type HostResources,
  type MissingResource,
  missingResources,
  type ParsedHostRequirements,
  parseHostRequirements,
  parseSize,
} from "./host-requirements.ts";
export { imageMetadataLabel, parseImageMetadata } from "./image-metadata.ts";
export {
  type LifecycleOccasion,
  type LifecyclePlan,
  type LifecycleStep,
  type LifecycleTask,
  lifecyclePlan,
  type RunnableCommand,
} from "./lifecycle.ts";
export { type HookCommand, type MergedConfig, type MergeInput, mergeConfig } from "./merge.ts";
export { type Mount, parseMount } from "./mounts.ts";
export { type ParsedConfig, type ParseOptions, parseConfig } from "./parse.ts";
export { attributesOf, type ForwardedPort, parseForwardedPort, portsToForward } from "./ports.ts";
export type { Problem, Severity } from "./problem.ts";
export { schemaFiles } from "./schema/files.ts";
export { type ContainerSource, sourceOf } from "./source.ts";
export {
  type ContainerEnvironment,
  probeShellOf,
  type ResolvedUsers,
  remoteEnvironment,
  usersOf,
} from "./users.ts";
export {
  type ContainerVariables,
  devcontainerId,
  type LocalVariables,
  substituteContainer,
  substituteLocal,
} from "./variables.ts";
export { type VscodeCustomizations, vscodeOf } from "./vscode.ts";
export { type ResolvedWorkspace, type WorkspaceOptions, workspaceOf } from "./workspace.ts";
