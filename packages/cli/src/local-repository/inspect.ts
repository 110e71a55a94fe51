import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { DormouseError } from "@dormouse/base";
import { git, gitValue } from "./git.ts";

/** What of a repository is checked out in the workspace. */
type Checkout =
  /** A branch; with `commit` null it has no commit yet, with `from` it is made from a remote's branch. */
  { kind: "branch"; branch: string; commit: string | null; from?: string } | { kind: "commit"; commit: string };

/** A repository of this machine, looked at and not touched. */
export interface LocalRepository {
  /** Where its files are; the repository itself when it is bare. */
  root: string;
  isBare: boolean;
  /** Last part of its path, for the workspace's name and folder. */
  name: string;
  /** Holds objects and refs, also of linked worktrees. */
  commonDir: string;
  indexFile: string;
  objectFormat: string;
  /** Commits whose parents are not here, of a shallow clone. */
  shallow: string;
  checkout: Checkout;
  /** Whether what is not committed belongs to `checkout`: not when another ref was asked for. */
  hasWorktree: boolean;
  originUrl: string | undefined;
  userName: string | undefined;
  userEmail: string | undefined;
}

/**
 * Finds out about the repository that a folder is in.
 * @throws DormouseError `failed_precondition` when it is in none, `not_found` when it has no such ref.
 */
export async function inspectRepository(path: string, ref: string | undefined): Promise<LocalRepository> {
  const folder = resolve(path);
  if (!(await stat(folder)).isDirectory()) {
    throw new DormouseError("failed_precondition", `${folder} is a file, not a folder with a git repository`);
  }
  const [isBareText, commonDirText, indexText, objectFormat = "sha1"] = await describe(folder);
  const isBare = isBareText === "true";
  const root = isBare
    ? resolve(folder, commonDirText ?? ".")
    : ((await gitValue(folder, ["rev-parse", "--show-toplevel"])) ?? folder);
  const commonDir = resolve(folder, commonDirText ?? ".git");
  const current = await readHead(folder);
  const checkout = ref === undefined ? current : await resolveRef(folder, ref);
  const config = (key: string) => gitValue(folder, ["config", "--get", key]);
  return {
    root,
    isBare,
    name: basename(root).replace(/\.git$/, "") || "repository",
    commonDir,
    indexFile: resolve(folder, indexText ?? "index"),
    objectFormat,
    shallow: existsSync(join(commonDir, "shallow")) ? await readFile(join(commonDir, "shallow"), "utf8") : "",
    checkout,
    hasWorktree: !isBare && isSame(checkout, current),
    originUrl: withoutPassword(await config("remote.origin.url")),
    userName: await config("user.name"),
    userEmail: await config("user.email"),
  };
}

async function describe(folder: string): Promise<string[]> {
  const query = ["--is-bare-repository", "--git-common-dir", "--git-path", "index", "--show-object-format"];
  try {
    const { stdout } = await git(folder, ["rev-parse", ...query]);
    return stdout.trimEnd().split("\n");
  } catch (error) {
    if (error instanceof DormouseError && /not a git repository/i.test(error.message)) {
      throw new DormouseError("failed_precondition", `${folder} is not a git repository; \`git init\` makes it one`, {
        cause: error,
      });
    }
    throw error;
  }
}

async function readHead(folder: string): Promise<Checkout> {
  const branch = await gitValue(folder, ["symbolic-ref", "-q", "--short", "HEAD"]);
  const commit = await gitValue(folder, ["rev-parse", "-q", "--verify", "HEAD^{commit}"]);
  if (branch !== undefined) return { kind: "branch", branch, commit: commit ?? null };
  if (commit !== undefined) return { kind: "commit", commit };
  throw new DormouseError("failed_precondition", `${folder}: its HEAD is neither a branch nor a commit`);
}

async function resolveRef(folder: string, ref: string): Promise<Checkout> {
  const commitOf = (name: string) =>
    gitValue(folder, ["rev-parse", "-q", "--verify", "--end-of-options", `${name}^{commit}`]);
  const branch = await commitOf(`refs/heads/${ref}`);
  if (branch !== undefined) return { kind: "branch", branch: ref, commit: branch };
  const remoteBranch = await commitOf(`refs/remotes/origin/${ref}`);
  if (remoteBranch !== undefined) return { kind: "branch", branch: ref, commit: remoteBranch, from: `origin/${ref}` };
  const commit = (await commitOf(`refs/tags/${ref}`)) ?? (await commitOf(ref));
  if (commit !== undefined) return { kind: "commit", commit };
  throw new DormouseError("not_found", `${folder} has no branch, tag or commit ${JSON.stringify(ref)}`);
}

function isSame(one: Checkout, other: Checkout): boolean {
  if (one.kind === "commit" || other.kind === "commit") return one.kind === other.kind && one.commit === other.commit;
  return one.branch === other.branch;
}

/** A password in an address stays at home. */
function withoutPassword(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return url;
  const parsed = new URL(url);
  if (parsed.password === "") return url;
  parsed.password = "";
  parsed.username = "";
  return parsed.href;
}
