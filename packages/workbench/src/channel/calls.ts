/** How a call of the guest contract behaves when its connection is lost, and how long it may take. */
export interface CallPolicy {
  /** Whether asking twice gives what asking once gives. Then a lost call is sent again. */
  repeatable: boolean;
  /** A call that answers with a stream lives as long as the stream. */
  timeoutMs: number | undefined;
}

const repeatable = new Set([
  ...["stat", "exists", "list", "read", "write", "makeDirectory", "watch"].map((name) => `files.${name}`),
  ...["list", "attach"].map((name) => `exec.${name}`),
  ...["list", "attach", "resize", "kill"].map((name) => `pty.${name}`),
  ...["discover", "status", "diff", "show", "stage", "unstage", "branches", "log"].map((name) => `git.${name}`),
  ...["text", "files"].map((name) => `search.${name}`),
  ...["list", "watch"].map((name) => `ports.${name}`),
  ...["start", "list", "watch", "breakpoints", "attach", "send", "processes", "openInspector"].map(
    (name) => `debug.${name}`,
  ),
  ...["start", "attach", "send", "stop"].map((name) => `languages.${name}`),
  ...["metrics", "activity"].map((name) => `machine.${name}`),
]);

const streams = new Set([
  "files.watch",
  "exec.attach",
  "pty.attach",
  "git.fetch",
  "git.pull",
  "git.push",
  "git.clone",
  "search.text",
  "ports.watch",
  "debug.watch",
  "debug.attach",
  "languages.attach",
]);

/** Long enough for `git status` of a huge tree in an emulated machine, short enough that nothing hangs for ever. */
const callTimeoutMs = 120_000;
/** Commands end when they end; this only bounds what is forgotten. */
const commandTimeoutMs = 30 * 60_000;

/** The policy for the call at `path`, for example `["files", "stat"]`. */
export function policyOf(path: readonly string[]): CallPolicy {
  const name = path.join(".");
  const timeoutMs = streams.has(name) ? undefined : name === "exec.run" ? commandTimeoutMs : callTimeoutMs;
  return { repeatable: repeatable.has(name), timeoutMs };
}
