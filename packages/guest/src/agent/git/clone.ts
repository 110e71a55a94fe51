import { lstat, readdir, rm } from "node:fs/promises";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { GitCredential, GitProgress } from "@dormouse/contract/guest-schemas";
import { bytesToPath } from "../../byte-path.ts";
import { fileError, native, resolvePath } from "../guest-files.ts";
import { credentialEnvironment } from "./credential.ts";
import { type Git, plainArgument } from "./run.ts";

/** What `git.clone` takes. */
export interface CloneOptions {
  url: string;
  path: string;
  /** Branch, tag or commit; also a full name such as `refs/pull/1/head`. */
  ref?: string | undefined;
  depth?: number | undefined;
  /** For the server that the address names, and no other; in git's environment for as long as it runs, and kept nowhere. */
  credential?: GitCredential | undefined;
}

/**
 * Clones into a folder that is empty or not there yet.
 * @returns the commit that is checked out; null for a repository without commits.
 * @throws DormouseError `already_exists` when something is in the folder; git's own reasons. A clone that
 *   fails, or whose caller leaves, leaves nothing behind.
 */
export async function* clone(
  git: Git,
  root: string,
  options: CloneOptions,
  signal?: AbortSignal,
): AsyncGenerator<GitProgress, { head: string | null }> {
  const url = plainArgument("url", options.url);
  const ref = options.ref === undefined ? undefined : plainArgument("ref", options.ref.replace(/^refs\/heads\//, ""));
  const target = await resolvePath(root, options.path);
  const wasThere = await refuseContent(target, options.path);
  const cwd = await existingFolder(root, posix.dirname(options.path));
  // A commit and a full name cannot be cloned by name: the repository comes first, then they are fetched.
  const isNamed = ref !== undefined && !ref.startsWith("refs/") && !/^[0-9a-f]{7,64}$/.test(ref);
  const later = isNamed ? undefined : ref;
  const args = [
    ...["clone", "--progress"],
    ...(isNamed ? ["--branch", ref] : []),
    ...(options.depth === undefined ? [] : ["--depth", String(options.depth)]),
    ...(later === undefined ? [] : ["--no-checkout"]),
    ...["--", url, options.path],
  ];
  let isDone = false;
  try {
    const env = credentialEnvironment(options.url, options.credential);
    yield* git.remote(args, { cwd, signal, env });
    if (later !== undefined) yield* checkOutLater(git, { ...options, env }, later, signal);
    const head = await git.head(options.path);
    isDone = true;
    return { head };
  } finally {
    if (!isDone) await clear(target, wasThere);
  }
}

async function* checkOutLater(
  git: Git,
  options: CloneOptions & { env: Record<string, string> },
  ref: string,
  signal?: AbortSignal,
) {
  const { path: cwd, env } = options;
  const depth = options.depth === undefined ? [] : ["--depth", String(options.depth)];
  const known = await git.run(["rev-parse", "--verify", "--quiet", `${ref}^{commit}`], { cwd, okCodes: [0, 1, 128] });
  let target = ref;
  if (known.exitCode !== 0) {
    // A branch may be named like a commit; git knows better than the pattern above.
    const branch = await git.run(["rev-parse", "--verify", "--quiet", `refs/remotes/origin/${ref}`], {
      cwd,
      okCodes: [0, 1, 128],
    });
    if (branch.exitCode !== 0) {
      yield* git.remote(["fetch", "--progress", ...depth, "origin", ref], { cwd, signal, env });
      target = "FETCH_HEAD";
    }
  }
  const detach = target === "FETCH_HEAD" ? ["--detach"] : [];
  yield* git.remote(["checkout", "--progress", ...detach, target, "--"], { cwd, signal });
}

/** Answers whether the folder is there (and empty). */
async function refuseContent(target: string, path: string): Promise<boolean> {
  try {
    const names = await readdir(native(target));
    if (names.length === 0) return true;
    throw new DormouseError("already_exists", `path: ${path} is there already and is not empty`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw fileError(error, path);
  }
}

/** Git makes missing parents itself; it only needs a folder to start in. */
async function existingFolder(root: string, folder: string): Promise<string> {
  for (let path = folder; path !== "/"; path = posix.dirname(path)) {
    const stats = await lstat(native(await resolvePath(root, path))).catch(() => undefined);
    if (stats?.isDirectory()) return path;
  }
  return "/";
}

async function clear(target: string, keepFolder: boolean): Promise<void> {
  if (!keepFolder) return rm(native(target), { recursive: true, force: true });
  for (const name of await readdir(native(target), "buffer")) {
    await rm(native(`${target}/${bytesToPath(name)}`), { recursive: true, force: true });
  }
}
