import { type RunOptions, type RunResult, run } from "@dormouse/base/node";

/**
 * Runs git on this machine for a folder that somebody named, so that it may belong to another user.
 * No prompts, no translated messages, and nothing of a surrounding git (a hook, an alias) leaks in.
 */
export function git(folder: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...options.env, LC_ALL: "C", GIT_TERMINAL_PROMPT: "0" };
  for (const name of ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"]) {
    if (options.env?.[name] === undefined) delete env[name];
  }
  return run("git", ["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", folder, ...args], {
    timeoutMs: 120_000,
    ...options,
    env,
  });
}

/** One line of git's answer, or undefined when it answers nothing (exit code 1). */
export async function gitValue(folder: string, args: readonly string[]): Promise<string | undefined> {
  const { stdout } = await git(folder, args, { okCodes: [0, 1] });
  return stdout.replace(/\n$/, "") || undefined;
}
