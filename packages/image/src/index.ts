export { type ArtifactInputs, type Artifacts, buildArtifacts } from "./artifacts.ts";
export { type BaseImage, buildBaseImage } from "./base-image.ts";
export { type BuildContext, defaultCacheDir } from "./cache.ts";
export { cloneDisk, createWorkspaceDisk } from "./disk.ts";
export { buildInitramfs, type Initramfs } from "./initramfs.ts";
export { buildKernel, type Kernel } from "./kernel.ts";
export { pruneArtifacts } from "./prune.ts";
export { buildSystemDrive, type SystemDrive, type SystemDriveInputs } from "./system-drive.ts";
