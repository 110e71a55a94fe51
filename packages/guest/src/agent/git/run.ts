import { lstat, readFile } from "node:fs/promises";
import { posix } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { GitProgress } from "@dormouse/contract/guest-schemas";
import { bytesToPath } from "../../byte-path.ts";
import type { Spawner } from "../../process/spawner.ts";
import { native, resolvePath } from "../guest-files.ts";
import { type ProgramOptions, type ProgramResult, runProgram } from "../program.ts";
import type { Machine } from "../session.ts";
import { gitError, gitReasonError } from "./errors.ts";
import { progressReader } from "./progress.ts";

/** Hooks and large checkouts take their time; nothing takes for ever. */
const localMs = 10 * 60_000;
const remoteMs = 60 * 60_000;
/** Arguments of one call; execve takes 2 MiB. */
const argumentsBytes = 1024 * 1024;

/** How git is run. */
export interface GitOptions extends Partial<ProgramOptions> {
  cwd: string;
  /** Exit codes that are answers and no failures; default 0. */
  okCodes?: readonly number[];
  env?: Readonly<Record<string, string>>;
}

/** Runs git in the machine, as its user, without anything that could ask a question. */
export type Git = ReturnType<typeof createGit>;

/** Makes {@link Git} for a machine. */
export function createGit(machine: Machine, spawner: Spawner) {
  const run = async (args: readonly string[], options: GitOptions): Promise<ProgramResult> => {
    const { cwd, okCodes = [0], env, ...program } = options;
    const { session } = machine;
    const request = {
      arguments: ["git", ...args],
      cwd,
      env: { ...session.env, ...quiet, ...env },
      user: session.user,
    };
    const result = await runProgram(spawner, request, { timeoutMs: localMs, ...program });
    if (result.isCut || okCodes.includes(result.exitCode)) return result;
    throw gitError(args.find((arg) => !arg.startsWith("-") && !arg.includes("=")) ?? "", failureText(result));
  };

  return {
    run,

    /** As `run`, its standard output as one line of text. */
    async line(args: readonly string[], options: GitOptions): Promise<string> {
      return (await run(args, options)).stdout.toString("utf8").trim();
    },

    /** Runs it once for as many paths as fit, as often as it takes. Paths are taken as they are, not as patterns. */
    async withPaths(args: readonly string[], paths: readonly string[], options: GitOptions): Promise<Buffer> {
      const outputs: Buffer[] = [];
      for (const some of chunks(paths)) {
        const env = { ...options.env, GIT_LITERAL_PATHSPECS: "1" };
        outputs.push((await run([...args, "--", ...some], { ...options, env })).stdout);
      }
      return Buffer.concat(outputs);
    },

    /** Runs something that talks to a remote, and yields how far it is. Who stops listening ends it. */
    async *remote(args: readonly string[], options: GitOptions): AsyncGenerator<GitProgress, ProgramResult> {
      const stop = new AbortController();
      const signals = [stop.signal, ...(options.signal ? [options.signal] : [])];
      let latest: GitProgress | undefined;
      let notify = () => {};
      let isOver = false;
      const onStderr = progressReader((progress) => {
        latest = progress;
        notify();
      });
      const work = run(args, { ...options, timeoutMs: remoteMs, signal: AbortSignal.any(signals), onStderr }).finally(
        () => {
          isOver = true;
          notify();
        },
      );
      // Its failure is told by the await below, which may come later.
      work.catch(() => {});
      try {
        while (!isOver) {
          if (!latest) {
            await new Promise<void>((resolve) => {
              notify = resolve;
            });
          }
          // Only the newest: a client slower than git need not hear of every percent.
          const progress = latest;
          latest = undefined;
          if (progress) yield progress;
        }
        return await work;
      } finally {
        stop.abort();
        await work.catch(() => {});
      }
    },

    /** The root of the repository that a folder is in, as the user names it, and where its `.git` is for the agent. */
    async findRoot(cwd: string): Promise<{ root: string; gitFolder: string }> {
      for (let folder = posix.normalize(cwd); ; folder = posix.dirname(folder)) {
        const gitFolder = await gitFolderOf(machine.root, folder);
        if (gitFolder) return { root: folder.length > 1 ? folder.replace(/\/$/, "") : folder, gitFolder };
        if (folder === "/") throw gitReasonError("status", "not_a_repository", cwd);
      }
    },

    /** The commit that is checked out; null before the first. */
    async head(cwd: string): Promise<string | null> {
      const result = await run(["rev-parse", "--verify", "--quiet", "HEAD"], { cwd, okCodes: [0, 1, 128] });
      return result.exitCode === 0 ? result.stdout.toString("latin1").trim() : null;
    },
  };
}

/** Refuses what git would read as an option. */
export function plainArgument(field: string, value: string): string {
  if (value.startsWith("-")) throw new DormouseError("invalid_argument", `${field}: ${value} must not start with -`);
  return value;
}

const quiet = {
  LC_ALL: "C.UTF-8",
  LANGUAGE: "",
  GIT_TERMINAL_PROMPT: "0",
  GIT_PAGER: "cat",
  GIT_EDITOR: "true",
  // Asks nothing, takes hosts it meets for the first time, refuses those that have changed.
  GIT_SSH_COMMAND: "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
};

function failureText({ stdout, stderr }: ProgramResult): string {
  return `${stderr}\n${stdout.subarray(0, 16_384).toString("utf8")}`;
}

function* chunks(paths: readonly string[]): Generator<string[]> {
  let chunk: string[] = [];
  let size = 0;
  for (const path of paths) {
    if (size > argumentsBytes) {
      yield chunk;
      chunk = [];
      size = 0;
    }
    chunk.push(path);
    size += Buffer.byteLength(path) + 16;
  }
  yield chunk;
}

async function gitFolderOf(root: string, folder: string): Promise<string | undefined> {
  const path = await resolvePath(root, `${folder === "/" ? "" : folder}/.git`);
  const stats = await lstat(native(path)).catch(() => undefined);
  if (stats?.isDirectory()) return path;
  if (!stats?.isFile()) return undefined;
  // A linked worktree or a submodule: the file names the folder.
  const named = /^gitdir: (.*)$/m.exec(bytesToPath(await readFile(native(path))))?.[1];
  return named ? resolvePath(root, posix.resolve(folder, named)) : undefined;
}
