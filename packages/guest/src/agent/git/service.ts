import { lstat, readdir } from "node:fs/promises";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import type {
  GitBlame,
  GitBranch,
  GitCommit,
  GitCredential,
  GitProgress,
  GitStash,
  GitStatus,
  GitUnpushed,
} from "@dormouse/contract/guest-schemas";
import { limits } from "@dormouse/contract/limits";
import { bytesToPath } from "../../byte-path.ts";
import type { Spawner } from "../../process/spawner.ts";
import { native, resolvePath } from "../guest-files.ts";
import type { Machine } from "../session.ts";
import { parseBlame } from "./blame.ts";
import { type CloneOptions, clone } from "./clone.ts";
import { credentialEnvironment } from "./credential.ts";
import { gitReasonError } from "./errors.ts";
import { createGit, plainArgument } from "./run.ts";
import { parseStatus } from "./status.ts";

/** A patch of more than this is cut. */
const patchBytes = 4 * 1024 * 1024;
/** Output of `git status` for somewhat more files than are answered. */
const statusBytes = 16 * 1024 * 1024;
/** How deep below a folder repositories are looked for, and in how many folders at most. */
const discoverDepth = 3;
const discoverFolders = 2000;

type Stream = AsyncGenerator<GitProgress, { head: string | null }>;

/** `git.*`. Paths of files are relative to the repository's root, wherever in it `cwd` is. */
export type GitService = ReturnType<typeof createGitService>;

/** Git, run in the machine as its user. */
export function createGitService(machine: Machine, spawner: Spawner) {
  const git = createGit(machine, spawner);
  const rootOf = async (cwd: string) => (await git.findRoot(cwd)).root;

  const talk = async function* (
    cwd: string,
    args: readonly string[],
    target: RemoteTarget,
    signal?: AbortSignal,
  ): Stream {
    const root = await rootOf(cwd);
    const { credential } = target;
    const env = credential ? credentialEnvironment(await addressOf(root, target.remote, args[0]), credential) : {};
    yield* git.remote(args, { cwd: root, signal, env });
    return { head: await git.head(root) };
  };

  /** Where a remote lies; without a name, of the one that the branch follows. */
  const addressOf = async (cwd: string, remote: string | undefined, action: string | undefined): Promise<string> => {
    const branch = await git.line(["symbolic-ref", "--short", "--quiet", "HEAD"], { cwd, okCodes: [0, 1] });
    const followed = branch && (await git.line(["config", `branch.${branch}.remote`], { cwd, okCodes: [0, 1] }));
    const name = plainArgument("remote", remote ?? (followed || "origin"));
    const args = ["remote", "get-url", ...(action === "push" ? ["--push"] : []), name];
    return git.line(args, { cwd, okCodes: [0, 2, 128] });
  };

  /** Git's name of today for a stash. */
  const stashAt = async (cwd: string, hash: string): Promise<string> => {
    const index = (await stashesOf(cwd)).findIndex((stash) => stash.hash === hash);
    if (index < 0) throw gitReasonError("stash", "reference_not_found", `hash: there is no stash ${hash}`);
    return `stash@{${index}}`;
  };

  const stashesOf = async (cwd: string): Promise<GitStash[]> => {
    const args = ["stash", "list", "-z", "--format=%H%x00%ct%x00%gs"];
    const fields = (await git.run(args, { cwd })).stdout.toString("utf8").split("\0");
    const stashes: GitStash[] = [];
    for (let at = 0; at + 3 <= fields.length; at += 3) {
      const [hash = "", seconds, message = ""] = fields.slice(at, at + 3);
      stashes.push({ hash, message, createdMs: Number(seconds) * 1000 });
    }
    return stashes;
  };

  return {
    async discover(path: string): Promise<string[]> {
      return discover(machine.root, path);
    },

    async init(cwd: string): Promise<void> {
      await git.run(["-c", "init.defaultBranch=main", "init", "--quiet"], { cwd });
    },

    async status(cwd: string, signal?: AbortSignal): Promise<GitStatus> {
      const { root, gitFolder } = await git.findRoot(cwd);
      const args = ["--no-optional-locks", "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all"];
      const result = await git.run(args, { cwd: root, signal, maxOutputBytes: statusBytes });
      const { files, ...parsed } = parseStatus(result.stdout);
      const truncated = result.isCut || files.length > limits.gitStatusFiles;
      const operation = await operationOf(gitFolder);
      return { root, ...parsed, operation, files: files.slice(0, limits.gitStatusFiles), truncated };
    },

    async unpushed(cwd: string, signal?: AbortSignal): Promise<GitUnpushed> {
      const root = await rootOf(cwd);
      const count = async (args: readonly string[], okCodes: readonly number[] = [0]) => {
        return Number(await git.line(["rev-list", "--count", ...args], { cwd: root, signal, okCodes })) || 0;
      };
      const commits = (await git.head(root)) ? ["HEAD", "--branches"] : ["--branches"];
      return {
        commits: await count([`--max-count=${limits.gitUnpushedCommits}`, ...commits, "--not", "--remotes"]),
        // 128: there never was a stash.
        stashes: await count(["--walk-reflogs", "refs/stash"], [0, 128]),
      };
    },

    async diff(cwd: string, options: { path?: string | undefined; staged: boolean }) {
      const root = await rootOf(cwd);
      const args = [
        "--no-optional-locks",
        "diff",
        "--no-color",
        "--no-ext-diff",
        ...(options.staged ? ["--cached"] : []),
      ];
      const path = options.path === undefined ? [] : ["--", options.path];
      const env = { GIT_LITERAL_PATHSPECS: "1" };
      const result = await git.run([...args, ...path], { cwd: root, env, maxOutputBytes: patchBytes });
      return { patch: result.stdout.toString("utf8"), truncated: result.isCut };
    },

    async show(cwd: string, ref: string, path: string): Promise<string> {
      const root = await rootOf(cwd);
      const object = ref === ":" ? `:${path}` : `${plainArgument("ref", ref)}:${path}`;
      const options = { cwd: root, okCodes: [0, 128], maxOutputBytes: limits.messageFileBytes };
      const result = await git.run(["cat-file", "blob", object], options);
      if (result.isCut) {
        throw new DormouseError("resource_exhausted", `path: ${path} has more than ${limits.messageFileBytes} bytes`);
      }
      if (result.exitCode === 0) return result.stdout.toString("base64");
      const where = ref === ":" ? "the index" : ref;
      throw new DormouseError("not_found", `path: ${path} is not in ${where}`);
    },

    async stage(cwd: string, paths: readonly string[]): Promise<void> {
      await git.withPaths(["add", "--all"], paths, { cwd: await rootOf(cwd) });
    },

    async stageContent(cwd: string, path: string, content: string): Promise<void> {
      const root = await rootOf(cwd);
      // As the file would be stored, line ends and filters included, with the mode that it has.
      const args = ["hash-object", "-w", "--stdin", `--path=${path}`];
      const object = await git.line(args, { cwd: root, stdin: Buffer.from(content, "base64") });
      const entry = await git.withPaths(["ls-files", "--stage", "-z"], [path], { cwd: root });
      const mode = /^(\d{6}) /.exec(entry.toString("latin1"))?.[1] ?? "100644";
      await git.run(["update-index", "--add", "--cacheinfo", `${mode},${object},${path}`], { cwd: root });
    },

    async unstage(cwd: string, paths: readonly string[]): Promise<void> {
      const root = await rootOf(cwd);
      // Before the first commit there is nothing to go back to but an empty index.
      const args = (await git.head(root))
        ? ["reset", "--quiet"]
        : ["rm", "--cached", "--quiet", "-r", "--ignore-unmatch"];
      await git.withPaths(args, paths, { cwd: root });
    },

    async discard(cwd: string, paths: readonly string[]): Promise<void> {
      const root = await rootOf(cwd);
      const tracked = splitNul(await git.withPaths(["ls-files", "-z"], paths, { cwd: root }));
      if (tracked.length > 0) await git.withPaths(["checkout", "--quiet"], tracked, { cwd: root });
      await git.withPaths(["clean", "--force", "--quiet", "-d"], paths, { cwd: root });
    },

    async commit(cwd: string, options: { message: string; amend: boolean; all: boolean }): Promise<string> {
      if (!options.message.trim() && !options.amend) {
        throw new DormouseError("invalid_argument", "message: a commit needs one");
      }
      const root = await rootOf(cwd);
      const message = options.message.trim() ? ["--file=-"] : ["--no-edit"];
      const flags = [...(options.amend ? ["--amend"] : []), ...(options.all ? ["--all"] : [])];
      await git.run(["commit", "--quiet", ...message, ...flags], { cwd: root, stdin: options.message });
      return (await git.head(root)) ?? "";
    },

    async branches(cwd: string): Promise<GitBranch[]> {
      const fields = [
        "refname",
        "refname:short",
        "HEAD",
        "objectname",
        "upstream:short",
        "symref",
        "committerdate:unix",
        "contents:subject",
      ];
      const format = fields.map((field) => `%(${field})`).join("%00");
      const args = ["for-each-ref", `--format=${format}`, "--sort=-committerdate", "refs/heads", "refs/remotes"];
      const { stdout } = await git.run(args, { cwd: await rootOf(cwd) });
      return stdout.toString("utf8").split("\n").flatMap(branchOf);
    },

    async checkout(
      cwd: string,
      options: { ref: string; create: boolean; startPoint?: string | undefined },
    ): Promise<void> {
      const ref = plainArgument("ref", options.ref);
      const start = options.startPoint === undefined ? [] : [plainArgument("startPoint", options.startPoint)];
      const args = options.create ? ["checkout", "--quiet", "-b", ref, ...start] : ["checkout", "--quiet", ref];
      await git.run([...args, "--"], { cwd: await rootOf(cwd) });
    },

    async deleteBranch(cwd: string, name: string, force: boolean): Promise<void> {
      await git.run(["branch", force ? "-D" : "-d", "--", name], { cwd: await rootOf(cwd) });
    },

    async log(cwd: string, options: LogOptions): Promise<GitCommit[]> {
      const root = await rootOf(cwd);
      if (options.ref === undefined && !(await git.head(root))) return [];
      const args = [
        ...["log", "-z", "--no-color", "--decorate=short", `--max-count=${options.limit}`, `--skip=${options.skip}`],
        `--format=tformat:${["%H", "%P", "%an", "%ae", "%at", "%s", "%b", "%D"].join("%x00")}`,
        ...(options.ref === undefined ? [] : [plainArgument("ref", options.ref)]),
        ...["--", ...(options.path === undefined ? [] : [options.path])],
      ];
      const { stdout } = await git.run(args, { cwd: root, env: { GIT_LITERAL_PATHSPECS: "1" } });
      return commitsOf(stdout.toString("utf8"));
    },

    async blame(
      cwd: string,
      options: { path: string; content?: string | undefined },
      signal?: AbortSignal,
    ): Promise<GitBlame> {
      const root = await rootOf(cwd);
      const { path, content } = options;
      const known = await git.withPaths(["ls-files", "-z"], [path], { cwd: root });
      if (known.length === 0 || !(await git.head(root))) {
        throw new DormouseError("not_found", `path: ${path} is not known to git`);
      }
      const stdin = content === undefined ? {} : { stdin: Buffer.from(content, "base64") };
      const args = ["blame", "--porcelain", ...(content === undefined ? [] : ["--contents", "-"]), "--", path];
      const result = await git.run(args, { cwd: root, signal, maxOutputBytes: limits.messageFileBytes, ...stdin });
      if (result.isCut) throw new DormouseError("resource_exhausted", `path: ${path} is too large to blame`);
      return parseBlame(result.stdout.toString("utf8"));
    },

    async stashes(cwd: string): Promise<GitStash[]> {
      return stashesOf(await rootOf(cwd));
    },

    async stash(
      cwd: string,
      options: { message?: string | undefined; untracked: boolean; keepIndex: boolean },
    ): Promise<void> {
      const root = await rootOf(cwd);
      const before = await stashesOf(root);
      const args = [
        ...["stash", "push", "--quiet"],
        ...(options.untracked ? ["--include-untracked"] : []),
        ...(options.keepIndex ? ["--keep-index"] : []),
        ...(options.message ? [`--message=${options.message}`] : []),
      ];
      await git.run(args, { cwd: root });
      // Git is content when there is nothing to put away.
      if ((await stashesOf(root)).length === before.length) {
        throw gitReasonError("stash", "nothing_to_commit", "no changes to put away");
      }
    },

    async unstash(cwd: string, hash: string, keep: boolean): Promise<void> {
      const root = await rootOf(cwd);
      await git.run(["stash", keep ? "apply" : "pop", "--quiet", await stashAt(root, hash)], { cwd: root });
    },

    async dropStash(cwd: string, hash: string): Promise<void> {
      const root = await rootOf(cwd);
      await git.run(["stash", "drop", "--quiet", await stashAt(root, hash)], { cwd: root });
    },

    fetch: (cwd: string, target: RemoteTarget, signal?: AbortSignal): Stream =>
      talk(cwd, ["fetch", "--progress", ...remoteArguments(target)], target, signal),

    pull: (cwd: string, target: RemoteTarget & { rebase: boolean }, signal?: AbortSignal): Stream => {
      const mode = target.rebase ? ["--rebase"] : ["--no-rebase", "--no-edit"];
      return talk(cwd, ["pull", "--progress", ...mode, ...remoteArguments(target)], target, signal);
    },

    async *push(cwd: string, target: PushTarget, signal?: AbortSignal): Stream {
      const flags = [
        ...(target.setUpstream ? ["--set-upstream"] : []),
        ...(target.force ? ["--force-with-lease"] : []),
      ];
      let { remote, branch } = target;
      if (target.setUpstream || branch !== undefined) {
        remote ??= "origin";
        branch ??= await git.line(["symbolic-ref", "--short", "--quiet", "HEAD"], {
          cwd: await rootOf(cwd),
          okCodes: [0, 1],
        });
        if (!branch) throw gitReasonError("push", "reference_not_found", "no branch is checked out");
      }
      const args = ["push", "--progress", ...flags, ...remoteArguments({ remote, branch })];
      return yield* talk(cwd, args, { ...target, remote }, signal);
    },

    clone: (options: CloneOptions, signal?: AbortSignal): Stream => clone(git, machine.root, options, signal),
  };
}

interface RemoteTarget {
  remote?: string | undefined;
  branch?: string | undefined;
  credential?: GitCredential | undefined;
}

interface PushTarget extends RemoteTarget {
  setUpstream: boolean;
  force: boolean;
}

interface LogOptions {
  ref?: string | undefined;
  path?: string | undefined;
  limit: number;
  skip: number;
}

function remoteArguments({ remote, branch }: RemoteTarget): string[] {
  if (branch === undefined) return remote === undefined ? [] : [plainArgument("remote", remote)];
  return [plainArgument("remote", remote ?? "origin"), plainArgument("branch", branch)];
}

async function operationOf(gitFolder: string): Promise<GitStatus["operation"]> {
  const signs = [
    ["rebase-merge", "rebase"],
    ["rebase-apply", "rebase"],
    ["MERGE_HEAD", "merge"],
    ["CHERRY_PICK_HEAD", "cherry-pick"],
    ["REVERT_HEAD", "revert"],
    ["BISECT_LOG", "bisect"],
  ] as const;
  for (const [name, operation] of signs) {
    if (await lstat(native(`${gitFolder}/${name}`)).catch(() => undefined)) return operation;
  }
  return null;
}

async function discover(root: string, path: string): Promise<string[]> {
  const roots: string[] = [];
  let level = [posix.normalize(path).replace(/(.)\/$/, "$1")];
  let seen = 0;
  for (let depth = 0; depth <= discoverDepth && level.length > 0; depth++) {
    const below: string[] = [];
    for (const folder of level) {
      if (++seen > discoverFolders) return roots;
      const entries = await readdir(native(await resolvePath(root, folder)), {
        withFileTypes: true,
        encoding: "buffer",
      }).catch(
        // Closed to us, or gone meanwhile: no repository to show there.
        () => [],
      );
      const names = entries.map((entry) => ({ name: bytesToPath(entry.name), isFolder: entry.isDirectory() }));
      if (names.some(({ name }) => name === ".git")) roots.push(folder);
      for (const { name, isFolder } of names) {
        if (!isFolder || name.startsWith(".") || name === "node_modules") continue;
        below.push(folder === "/" ? `/${name}` : `${folder}/${name}`);
      }
    }
    level = below;
  }
  return roots;
}

function splitNul(output: Buffer): string[] {
  return bytesToPath(output).split("\0").slice(0, -1);
}

function branchOf(line: string): GitBranch[] {
  const [ref = "", name = "", current, head = "", upstream, symbolic, seconds, subject = ""] = line.split("\0");
  // `origin/HEAD` only says which of the others is the remote's default.
  if (!ref || symbolic) return [];
  const remote = ref.startsWith("refs/remotes/");
  const committedMs = Number(seconds) * 1000;
  return [{ name, remote, current: current === "*", head, upstream: upstream || null, subject, committedMs }];
}

function commitsOf(output: string): GitCommit[] {
  const fields = output.split("\0");
  const commits: GitCommit[] = [];
  for (let at = 0; at + 8 <= fields.length; at += 8) {
    const [hash = "", parents, author = "", email = "", seconds, subject = "", body = "", refs] = fields.slice(
      at,
      at + 8,
    );
    commits.push({
      hash,
      parents: parents ? parents.split(" ") : [],
      author,
      email,
      authoredMs: Number(seconds) * 1000,
      subject,
      body: body.trimEnd(),
      refs: refs ? refs.split(", ") : [],
    });
  }
  return commits;
}
