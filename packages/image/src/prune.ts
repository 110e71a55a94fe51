import { randomBytes } from "node:crypto";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { withFileLock } from "@dormouse/base/node";
import type { Artifacts } from "./artifacts.ts";
import { type BuildContext, buildingSuffix, defaultCacheDir } from "./cache.ts";

/** Every kind of artefact this package makes; whatever else lies in the cache is somebody else's. */
const kinds = ["kernel", "initramfs", "system-drive", "base-image", "blank-disk"];

/** Kinds of which several are made at the same time, each under a lock of its own. */
const kindsSideBySide = ["image", "built-image", "flat-image", "feature"];

/** Who holds the lock of one such artefact for longer is making it right now. */
const busyMs = 1000;

/**
 * Removes artefacts that nobody has asked for lately: each change of the agent leaves
 * a system drive, each change of the base image most of a gigabyte, each image all of itself.
 * What killed pulls of images left goes too.
 * @param options.keep artefacts and images that templates or machines still need, however old.
 * @param options.unusedForMs how long an artefact must not have been asked for.
 * @returns the folders that are gone.
 */
export async function pruneArtifacts(
  options: { keep: readonly (Artifacts | { path: string })[]; unusedForMs: number },
  context: BuildContext = {},
): Promise<string[]> {
  const cacheDir = context.cacheDir ?? defaultCacheDir();
  const paths = options.keep.flatMap((item) => Object.values(item).filter((value) => typeof value === "string"));
  const kept = new Set(paths.map((path) => dirname(path)));
  const removed: string[] = [];
  // Under the lock nobody builds, and whoever comes later builds anew.
  const prune = async (folder: string) => {
    const facts = await stat(folder).catch(() => undefined);
    if (!facts || kept.has(folder) || Date.now() - facts.mtimeMs < options.unusedForMs) return;
    // First out of sight, at once; taking a large folder apart can be interrupted.
    const doomed = `${folder}.${randomBytes(4).toString("hex")}${buildingSuffix}`;
    await rename(folder, doomed);
    await rm(doomed, { recursive: true });
    removed.push(folder);
  };
  for (const kind of kinds) {
    const folders = await list(cacheDir, new RegExp(`^${kind}-[0-9a-f]{24}$`));
    const lock = join(cacheDir, `${kind}.lock`);
    const all = async () => {
      for (const folder of folders) await prune(folder);
    };
    if (folders.length > 0) await withFileLock(lock, all, { signal: context.signal });
  }
  for (const kind of kindsSideBySide) {
    const folders = await list(cacheDir, new RegExp(`^${kind}-[0-9a-f]{24}(?:\\.[0-9a-f]{8}\\${buildingSuffix})?$`));
    for (const folder of folders) {
      const target = folder.replace(/\.[0-9a-f]{8}\.building$/, "");
      const one = () => (folder === target ? prune(folder) : rm(folder, { recursive: true, force: true }));
      await withFileLock(`${target}.lock`, one, { timeoutMs: busyMs, signal: context.signal }).catch(unlessBusy);
    }
  }
  return removed;
}

async function list(cacheDir: string, pattern: RegExp): Promise<string[]> {
  return (await readdir(cacheDir)).filter((name) => pattern.test(name)).map((name) => join(cacheDir, name));
}

function unlessBusy(error: unknown): void {
  if (!(error instanceof DormouseError) || error.code !== "deadline_exceeded") throw error;
}
