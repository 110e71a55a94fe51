import { randomBytes } from "node:crypto";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { withFileLock } from "@dormouse/base/node";
import type { Artifacts } from "./artifacts.ts";
import { type BuildContext, buildingSuffix, defaultCacheDir } from "./cache.ts";

/** Every kind of artefact this package makes; whatever else lies in the cache is somebody else's. */
const kinds = ["kernel", "initramfs", "system-drive", "base-image", "blank-disk"];

/**
 * Removes artefacts that nobody has asked for lately: each change of the agent leaves
 * a system drive, each change of the base image most of a gigabyte.
 * @param options.keep artefacts that templates or machines still need, however old.
 * @param options.unusedForMs how long an artefact must not have been asked for.
 * @returns the folders that are gone.
 */
export async function pruneArtifacts(
  options: { keep: readonly Artifacts[]; unusedForMs: number },
  context: BuildContext = {},
): Promise<string[]> {
  const cacheDir = context.cacheDir ?? defaultCacheDir();
  const kept = new Set(options.keep.flatMap((artifacts) => Object.values(artifacts).map((path) => dirname(path))));
  const removed: string[] = [];
  for (const kind of kinds) {
    const folders = (await readdir(cacheDir))
      .filter((name) => new RegExp(`^${kind}-[0-9a-f]{24}$`).test(name))
      .map((name) => join(cacheDir, name));
    // Under the lock nobody builds, and whoever comes later builds anew.
    const prune = async () => {
      for (const folder of folders) {
        if (kept.has(folder) || Date.now() - (await stat(folder)).mtimeMs < options.unusedForMs) continue;
        // First out of sight, at once; taking a large folder apart can be interrupted.
        const doomed = `${folder}.${randomBytes(4).toString("hex")}${buildingSuffix}`;
        await rename(folder, doomed);
        await rm(doomed, { recursive: true });
        removed.push(folder);
      }
    };
    if (folders.length > 0) await withFileLock(join(cacheDir, `${kind}.lock`), prune, { signal: context.signal });
  }
  return removed;
}
