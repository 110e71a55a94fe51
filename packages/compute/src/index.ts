export { BlockSet } from "./block-set.ts";
export { detectCgroups } from "./cgroup.ts";
export { hostTscKhz } from "./host-cpu.ts";
export { createLanes, type Lane, type LaneCapacity, type Lanes } from "./lanes.ts";
export { linkLayers, listLayers, removeOtherLayers } from "./layer-folder.ts";
export { type MachineIdentity, readManifest, type TemplateManifest } from "./manifest.ts";
export { connectPartialFile, type PartialFile, type PartialFileListener, type PartialFiles } from "./partial-file.ts";
export { type AcceleratorProbe, probeAccelerator } from "./probe.ts";
export { createQemuVmm } from "./qemu/driver.ts";
export { type QemuHostOptions, qemuVersion } from "./qemu/host.ts";
export { waitUntilQuiet } from "./quiet.ts";
export type {
  BlockReader,
  BootOptions,
  BootSpec,
  CallOptions,
  Capture,
  CaptureOptions,
  LayeredDrive,
  Machine,
  MachineDrives,
  MachineExit,
  MachineResources,
  MachineSlot,
  MachineState,
  MachineStatus,
  MachineUsage,
  RestoreSpec,
  TemplateOptions,
  Vmm,
  VmmCapabilities,
} from "./vmm.ts";
