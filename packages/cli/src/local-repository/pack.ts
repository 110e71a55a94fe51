import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { git, gitValue } from "./git.ts";
import type { LocalRepository } from "./inspect.ts";

/** A repository in one file, with what is not committed. */
export interface PackedRepository extends AsyncDisposable {
  /** A git bundle; undefined when there is nothing at all to bring. */
  bundleFile: string | undefined;
  /** Names the trees of the index and of the files, in the bundle, when they differ from the commit. */
  hasChanges: boolean;
  /** Remotes, upstreams and the author, as a piece of a git configuration. */
  config: string;
}

/** Refs in the bundle that carry what is not committed. */
export const changeRefs = {
  index: "refs/dormouse/index",
  worktree: "refs/dormouse/worktree",
  head: "refs/dormouse/head",
};

const packTimeoutMs = 30 * 60_000;

/**
 * Packs all branches, tags and remote branches, and the state of index and files
 * (modified, deleted, untracked, not ignored).
 *
 * It all happens in a second, temporary repository that borrows the objects of the
 * first: nothing is written to the folder or its `.git`.
 */
export async function packRepository(
  source: LocalRepository,
  options: { onProgress?: (line: string) => void; signal?: AbortSignal } = {},
): Promise<PackedRepository> {
  const scratch = await mkdtemp(join(tmpdir(), "dormouse-pack-"));
  const dispose = () => rm(scratch, { recursive: true, force: true });
  try {
    const shadow = await createShadow(source, scratch);
    const refCount = await copyRefs(source, shadow);
    const hasChanges = source.hasWorktree && (await snapshotFiles(source, shadow, scratch, options.signal));
    const isEmpty = refCount === 0 && !hasChanges;
    const bundleFile = join(scratch, "repository.bundle");
    if (!isEmpty) {
      await git(shadow, ["bundle", "create", "--progress", bundleFile, "--all"], {
        timeoutMs: packTimeoutMs,
        onLine: options.onProgress,
        signal: options.signal,
      });
    }
    const config = await describeConfig(source);
    return { bundleFile: isEmpty ? undefined : bundleFile, hasChanges, config, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function createShadow(source: LocalRepository, scratch: string): Promise<string> {
  const shadow = join(scratch, "shadow.git");
  await git(scratch, ["init", "-q", "--bare", `--object-format=${source.objectFormat}`, shadow]);
  await writeFile(join(shadow, "objects/info/alternates"), `${join(source.commonDir, "objects")}\n`);
  if (source.shallow) await writeFile(join(shadow, "shallow"), source.shallow);
  const exclude = join(source.commonDir, "info/exclude");
  await mkdir(join(shadow, "info"), { recursive: true });
  if (existsSync(exclude)) await copyFile(exclude, join(shadow, "info/exclude"));
  return shadow;
}

/** @returns how many refs there are. */
async function copyRefs(source: LocalRepository, shadow: string): Promise<number> {
  const format = "--format=%(objectname) %(refname) %(symref)";
  const { stdout } = await git(source.root, ["for-each-ref", format, "refs/heads", "refs/tags", "refs/remotes/origin"]);
  const commands: string[] = [];
  for (const line of stdout.split("\n")) {
    const [object, ref, symbolic] = line.split(" ");
    if (object && ref && !symbolic) commands.push(`create ${ref} ${object}`);
  }
  // A detached head may be on no branch.
  if (source.checkout.commit !== null) commands.push(`create ${changeRefs.head} ${source.checkout.commit}`);
  await git(shadow, ["update-ref", "--stdin"], { input: commands.map((line) => `${line}\n`).join("") });
  return commands.length;
}

/**
 * Records index and files as two commits of the shadow.
 * @returns whether either differs from the commit that is checked out.
 */
async function snapshotFiles(
  source: LocalRepository,
  shadow: string,
  scratch: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const indexFile = join(scratch, "index");
  if (existsSync(source.indexFile)) {
    await copyFile(source.indexFile, indexFile);
    // Git trusts an entry that is older than the index: a younger copy would hide what was edited in the same second.
    const { atime, mtime } = await stat(source.indexFile);
    await utimes(indexFile, atime, mtime);
  }
  const env = { GIT_DIR: shadow, GIT_WORK_TREE: source.root, GIT_INDEX_FILE: indexFile };
  const settings = await contentSettings(source);
  const inShadow = async (...args: string[]) =>
    (await git(source.root, [...settings, ...args], { env, timeoutMs: packTimeoutMs, signal })).stdout.trim();
  const head = source.checkout.commit ?? undefined;
  const headTree = head === undefined ? await inShadow("mktree") : await inShadow("rev-parse", `${head}^{tree}`);
  // An index with conflicts is no tree: then the files alone are brought, as changes of the commit.
  const indexTree = await inShadow("write-tree").catch(() => headTree);
  await inShadow("add", "--all");
  const worktreeTree = await inShadow("write-tree");
  if (indexTree === headTree && worktreeTree === headTree) return false;
  for (const [ref, tree] of [
    [changeRefs.index, indexTree],
    [changeRefs.worktree, worktreeTree],
  ] as const) {
    const author = { GIT_AUTHOR_NAME: "Dormouse", GIT_AUTHOR_EMAIL: "dormouse@localhost" };
    const committer = { GIT_COMMITTER_NAME: "Dormouse", GIT_COMMITTER_EMAIL: "dormouse@localhost" };
    const commit = await git(shadow, ["commit-tree", tree, "-m", ref], { env: { ...author, ...committer } });
    await git(shadow, ["update-ref", ref, commit.stdout.trim()]);
  }
  return true;
}

/** Settings of the repository that decide what a file's content is. */
async function contentSettings(source: LocalRepository): Promise<string[]> {
  const settings: string[] = [];
  for (const key of ["core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase"]) {
    const value = await gitValue(source.root, ["config", "--get", key]);
    if (value !== undefined) settings.push("-c", `${key}=${value}`);
  }
  return settings;
}

async function describeConfig(source: LocalRepository): Promise<string> {
  const sections: string[] = [];
  if (source.originUrl !== undefined) {
    sections.push(section("remote", "origin", { url: source.originUrl, fetch: "+refs/heads/*:refs/remotes/origin/*" }));
  }
  const format = "--format=%(refname:lstrip=2)%00%(upstream:remotename)%00%(upstream:remoteref)";
  const { stdout } = await git(source.root, ["for-each-ref", format, "refs/heads"]);
  for (const line of stdout.split("\n")) {
    const [branch, remote, merge] = line.split("\0");
    if (branch && remote === "origin" && merge) sections.push(section("branch", branch, { remote, merge }));
  }
  const { checkout } = source;
  if (checkout.kind === "branch" && checkout.from !== undefined) {
    sections.push(section("branch", checkout.branch, { remote: "origin", merge: `refs/heads/${checkout.branch}` }));
  }
  if (source.userName !== undefined && source.userEmail !== undefined) {
    sections.push(section("user", undefined, { name: source.userName, email: source.userEmail }));
  }
  return sections.join("");
}

function section(name: string, subsection: string | undefined, values: Record<string, string>): string {
  const quote = (text: string) => `"${text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;
  const lines = Object.entries(values).map(([key, value]) => `\t${key} = ${quote(value)}\n`);
  return `[${name}${subsection === undefined ? "" : ` ${quote(subsection)}`}]\n${lines.join("")}`;
}
