import { randomBytes } from "node:crypto";
import { access, chmod, mkdir, readdir, rename, rm, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DormouseError, type Progress, silentProgress } from "@dormouse/base";
import { withFileLock } from "@dormouse/base/node";

/** Where artefacts are built and who watches. */
export interface BuildContext {
  /** Folder of finished artefacts; default `$DORMOUSE_CACHE`, else `/var/cache/dormouse`. */
  cacheDir?: string;
  progress?: Progress;
  signal?: AbortSignal;
}

/** The folder artefacts are cached in when nobody names another. */
export function defaultCacheDir(): string {
  return process.env.DORMOUSE_CACHE || "/var/cache/dormouse";
}

/** Ends the name of a folder that is not finished, or no longer wanted. */
export const buildingSuffix = ".building";

/** One thing that {@link cached} can build. */
export interface Recipe {
  /** Names the step in progress events and the artefact's folder, e.g. `kernel`. */
  name: string;
  /** Content hash of everything that goes in. */
  hash: string;
  /** One line for people, e.g. `Fetching the guest kernel`. */
  title: string;
  /**
   * Others of this name may be built at the same time, each under a lock of its own, which whoever wants the same one
   * waits for this long. Without it, one of a name is built at a time.
   */
  sideBySide?: { timeoutMs: number };
  /** Fills the empty folder; `report` shows a line and how far it is. */
  build(folder: string, report: (message: string, fraction?: number) => void): Promise<void>;
}

/**
 * The folder of a finished artefact; builds it first when it is not there yet.
 * It appears as a whole or not at all: the build happens in a folder of its own,
 * which is renamed at the end, under a lock, so that two callers build once.
 * Artefacts are world-readable, because machines run as users of their own.
 * @throws DormouseError whatever the build threw, or `cancelled`; nothing half-made stays behind.
 */
export async function cached(recipe: Recipe, context: BuildContext): Promise<string> {
  const cacheDir = context.cacheDir ?? defaultCacheDir();
  const target = join(cacheDir, `${recipe.name}-${recipe.hash}`);
  if (await exists(target)) {
    const now = new Date();
    // The time of the last use, by which old artefacts are cleared away; a read-only cache has none.
    await utimes(target, now, now).catch(() => {});
    return target;
  }
  await mkdir(cacheDir, { recursive: true, mode: 0o755 });
  const lock = recipe.sideBySide ? `${target}.lock` : join(cacheDir, `${recipe.name}.lock`);
  const build = () => buildOnce(recipe, target, context);
  const wait = { timeoutMs: recipe.sideBySide?.timeoutMs, signal: context.signal };
  await withFileLock(lock, build, wait).catch((error) => {
    // Also whoever gives up waiting for the lock ends with one of our errors.
    throw DormouseError.from(error);
  });
  return target;
}

async function buildOnce(recipe: Recipe, target: string, context: BuildContext): Promise<void> {
  // Somebody else may have finished it while this caller waited for the lock.
  if (await exists(target)) return;
  const progress = context.progress ?? silentProgress;
  const step = `image.${recipe.name}`;
  const startedMs = Date.now();
  const tell = (state: "started" | "running" | "done" | "failed", message: string, fraction?: number) =>
    progress({ step, state, message, fraction, elapsedMs: Date.now() - startedMs });
  await removeLeftovers(recipe.sideBySide ? `${basename(target)}.` : `${recipe.name}-`, dirname(target));
  const folder = `${target}.${randomBytes(4).toString("hex")}${buildingSuffix}`;
  tell("started", recipe.title);
  try {
    context.signal?.throwIfAborted();
    await mkdir(folder);
    await recipe.build(folder, (message, fraction) => tell("running", message, fraction));
    await chmod(folder, 0o755);
    await rename(folder, target);
    tell("done", recipe.title, 1);
  } catch (caught) {
    await rm(folder, { recursive: true, force: true });
    const error = DormouseError.from(caught);
    tell("failed", error.message);
    throw error;
  }
}

/** What killed builders left. Whoever holds the lock is the only builder of these, so all of it is dead. */
async function removeLeftovers(prefix: string, cacheDir: string): Promise<void> {
  for (const entry of await readdir(cacheDir)) {
    if (!entry.startsWith(prefix) || !entry.endsWith(buildingSuffix)) continue;
    await rm(join(cacheDir, entry), { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
