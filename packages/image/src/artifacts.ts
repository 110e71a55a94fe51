import { dirname, join } from "node:path";
import { contentHash } from "@dormouse/base/node";
import { buildBaseImage } from "./base-image.ts";
import { type BuildContext, cached } from "./cache.ts";
import { createWorkspaceDisk } from "./disk.ts";
import { buildInitramfs } from "./initramfs.ts";
import { buildKernel } from "./kernel.ts";
import { buildSystemDrive, type SystemDriveInputs } from "./system-drive.ts";

/** What the artefacts are made from, beside Debian. */
export interface ArtifactInputs extends SystemDriveInputs {
  /** Size of the empty workspace drive; default 10 GiB, of which a few megabytes are used. */
  diskSizeGib?: number;
}

/** Everything a machine boots from; absolute paths of read-only files. */
export interface Artifacts {
  kernel: string;
  initramfs: string;
  systemDrive: string;
  baseImage: string;
  /** An empty workspace drive to be cloned, never to be used itself. */
  blankDisk: string;
  /** Over all of the above: a template is good for exactly one of these. */
  hash: string;
}

/**
 * Builds what is missing and returns where everything lies. With everything in the
 * cache it only looks. The base image, by far the longest, runs beside the rest.
 * @throws DormouseError the first failure; the other builds are stopped and leave nothing behind.
 */
export async function buildArtifacts(inputs: ArtifactInputs, context: BuildContext = {}): Promise<Artifacts> {
  const stop = new AbortController();
  const signal = context.signal ? AbortSignal.any([context.signal, stop.signal]) : stop.signal;
  const own = { ...context, signal };
  const builds = [
    buildBoot(own),
    buildSystemDrive(inputs, own),
    buildBaseImage(inputs, own),
    buildBlankDisk(inputs, own),
  ] as const;
  try {
    const [boot, system, base, blankDisk] = await Promise.all(builds);
    return {
      kernel: boot.kernel.vmlinux,
      initramfs: boot.initramfs.path,
      systemDrive: system.path,
      baseImage: base.path,
      blankDisk,
      hash: await contentHash(boot.kernel.hash, boot.initramfs.hash, system.hash, base.hash, dirname(blankDisk)),
    };
  } catch (error) {
    stop.abort(error);
    // Nothing may still be writing to the cache when the caller hears of the failure.
    await Promise.allSettled(builds);
    throw error;
  }
}

async function buildBoot(context: BuildContext) {
  const kernel = await buildKernel(context);
  return { kernel, initramfs: await buildInitramfs(kernel, context) };
}

async function buildBlankDisk(inputs: ArtifactInputs, context: BuildContext): Promise<string> {
  const sizeGib = inputs.diskSizeGib ?? 10;
  const hash = await contentHash("blank-disk", "1", String(sizeGib));
  const build = (folder: string) => createWorkspaceDisk(join(folder, "workspace.ext4"), sizeGib, context);
  const folder = await cached({ name: "blank-disk", hash, title: "Making the empty workspace drive", build }, context);
  return join(folder, "workspace.ext4");
}
