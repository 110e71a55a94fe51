import { z } from "zod";
import { limits } from "./limits.ts";

/**
 * A path in the machine, absolute. Bytes that are not UTF-8 are carried as lone
 * surrogates U+DC80…U+DCFF (PEP 383), so that every name survives the way through JSON.
 */
export const guestPath = z
  .string()
  .max(limits.pathBytes, `a path has at most ${limits.pathBytes} bytes`)
  .refine((path) => path.startsWith("/"), "a path starts with /")
  .refine((path) => !path.includes("\0"), "a path holds no NUL");

/** Bytes as base64. */
export const base64 = z.base64();

export const entryType = z.enum(["file", "directory", "symlink", "other"]);

export const fileEntry = z.object({
  path: guestPath,
  name: z.string(),
  type: entryType,
  /** What a symbolic link leads to, if it leads to something. */
  targetType: entryType.optional(),
  /** Bytes. */
  size: z.number(),
  modifiedMs: z.number(),
  createdMs: z.number(),
  /** Permission bits. */
  mode: z.number(),
  uid: z.number(),
  gid: z.number(),
  /** Changes whenever the content may have changed. */
  etag: z.string(),
});
export type FileEntry = z.infer<typeof fileEntry>;

export const fileChange = z.object({ type: z.enum(["created", "changed", "deleted"]), path: guestPath });
export type FileChange = z.infer<typeof fileChange>;

export const environment = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "a variable's name has letters, digits and _"), z.string())
  .refine(
    (env) => Object.entries(env).every(([name, value]) => name.length + value.length < limits.environmentBytes),
    `a variable has at most ${limits.environmentBytes} bytes`,
  );

/** A user of the machine: a name, or a number, either with `:GROUP`. */
export const userName = z.string().min(1).max(64);

/** A command line for the user's shell (string), or a program and its arguments (array, no shell). */
export const command = z.union([z.string().min(1), z.array(z.string()).min(1)]);

export const execOptions = z.object({
  command,
  /** Default: the workspace's folder. */
  cwd: guestPath.optional(),
  env: environment.optional(),
  /** A user of the machine by name; default is the image's user. */
  user: userName.optional(),
  /** The process group is killed after this. */
  timeoutMs: z
    .number()
    .int()
    .positive()
    .max(24 * 3600 * 1000)
    .optional(),
});

export const execResult = z.object({
  /** 128 + signal number when a signal ended it, as shells report it. */
  exitCode: z.number().int(),
  signal: z.string().nullable(),
  stdout: z.string(),
  stderr: z.string(),
  timedOut: z.boolean(),
  /** Output beyond the limit was dropped from its beginning. */
  truncated: z.boolean(),
  durationMs: z.number(),
});
export type ExecResult = z.infer<typeof execResult>;

/** A command that one owner has begun and another goes on with. */
export const releasedCommand = z.object({
  /** By which the machine's process starter knows it. */
  name: z.string().regex(/^[0-9a-f]{32}$/),
  command,
  startedMs: z.number(),
  /** What it has written until now, in order. */
  output: z.array(z.object({ stream: z.enum(["stdout", "stderr"]), data: base64 })),
  /** What is left of its times. */
  timeoutMs: z.number().int().positive().optional(),
  waitMs: z.number().int().positive().optional(),
  maxOutputBytes: z.number().int().positive().max(limits.execOutputBytes).optional(),
});
export type ReleasedCommand = z.infer<typeof releasedCommand>;

export const processInfo = z.object({
  processId: z.string(),
  pid: z.number().int(),
  command,
  startedMs: z.number(),
  exitCode: z.number().int().nullable(),
});
export type ProcessInfo = z.infer<typeof processInfo>;

export const processEvent = z.discriminatedUnion("type", [
  /** `offset` counts the bytes of both streams together, before this piece. */
  z.object({ type: z.literal("stdout"), offset: z.number(), data: base64 }),
  z.object({ type: z.literal("stderr"), offset: z.number(), data: base64 }),
  /** Output between `offset` and the next piece is no longer kept. */
  z.object({ type: z.literal("lost"), offset: z.number(), bytes: z.number() }),
  z.object({
    type: z.literal("exit"),
    exitCode: z.number().int(),
    signal: z.string().nullable(),
    timedOut: z.boolean(),
  }),
]);
export type ProcessEvent = z.infer<typeof processEvent>;

export const ptyInfo = z.object({
  id: z.string(),
  pid: z.number().int(),
  title: z.string(),
  cwd: z.string(),
  cols: z.number().int(),
  rows: z.number().int(),
  exitCode: z.number().int().nullable(),
});
export type PtyInfo = z.infer<typeof ptyInfo>;

export const ptyEvent = z.discriminatedUnion("type", [
  /** `offset` is the byte offset after this piece: attach again with it to go on. */
  z.object({ type: z.literal("data"), offset: z.number(), data: z.string() }),
  z.object({ type: z.literal("resized"), cols: z.number().int(), rows: z.number().int() }),
  z.object({ type: z.literal("exit"), exitCode: z.number().int(), signal: z.string().nullable() }),
]);
export type PtyEvent = z.infer<typeof ptyEvent>;

/** A file's state letter as `git status --porcelain=v2` prints it. */
export const gitFileState = z.enum([".", "M", "T", "A", "D", "R", "C", "U", "?", "!"]);

export const gitFile = z.object({
  /** Relative to the repository's root. */
  path: z.string(),
  originalPath: z.string().optional(),
  index: gitFileState,
  worktree: gitFileState,
  conflicted: z.boolean(),
});
export type GitFile = z.infer<typeof gitFile>;

export const gitStatus = z.object({
  root: guestPath,
  /** Null on a detached head. */
  branch: z.string().nullable(),
  /** Null before the first commit. */
  head: z.string().nullable(),
  upstream: z.string().nullable(),
  ahead: z.number().int(),
  behind: z.number().int(),
  /** What is under way, if anything. */
  operation: z.enum(["merge", "rebase", "cherry-pick", "revert", "bisect"]).nullable(),
  files: z.array(gitFile),
  truncated: z.boolean(),
});
export type GitStatus = z.infer<typeof gitStatus>;

/** Work that no remote has, as far as the repository knows. */
export const gitUnpushed = z.object({
  /**
   * Of all branches and what is checked out, at most `limits.gitUnpushedCommits`; in a repository without remotes that is
   * every commit.
   */
  commits: z.number().int(),
  stashes: z.number().int(),
});
export type GitUnpushed = z.infer<typeof gitUnpushed>;

export const gitBranch = z.object({
  name: z.string(),
  remote: z.boolean(),
  current: z.boolean(),
  head: z.string(),
  upstream: z.string().nullable(),
  subject: z.string(),
  committedMs: z.number(),
});
export type GitBranch = z.infer<typeof gitBranch>;

export const gitCommit = z.object({
  hash: z.string(),
  parents: z.array(z.string()),
  author: z.string(),
  email: z.string(),
  authoredMs: z.number(),
  subject: z.string(),
  body: z.string(),
  refs: z.array(z.string()),
});
export type GitCommit = z.infer<typeof gitCommit>;

/** Who wrote each line of a file. */
export const gitBlame = z.object({
  commits: z.array(gitCommit.pick({ hash: true, author: true, email: true, authoredMs: true, subject: true })),
  /** For each line of the file the index of its commit in `commits`; -1 where the line is in no commit yet. */
  lines: z.array(z.number().int().min(-1)),
});
export type GitBlame = z.infer<typeof gitBlame>;

export const gitStash = z.object({
  /** As the calls for one stash take it. Git numbers stashes anew with each one; this stays. */
  hash: z.string(),
  message: z.string(),
  createdMs: z.number(),
});
export type GitStash = z.infer<typeof gitStash>;

/** Answers a server's question, in one call only: it is kept nowhere, least of all in the repository's configuration. */
export const gitCredential = z.object({ username: z.string(), password: z.string() });
export type GitCredential = z.infer<typeof gitCredential>;

/** Why git refused; stands in an error's `details.reason`. */
export const gitReasons = [
  "authentication",
  "repository_not_found",
  "reference_not_found",
  "conflict",
  "no_upstream",
  "rejected",
  "dirty_worktree",
  "nothing_to_commit",
  "identity_missing",
  "not_a_repository",
  "network",
] as const;

export const gitProgress = z.object({
  phase: z.string(),
  /** 0 to 1 where git says it. */
  fraction: z.number().min(0).max(1).optional(),
  message: z.string(),
});
export type GitProgress = z.infer<typeof gitProgress>;

export const searchMatch = z.object({
  path: guestPath,
  /** 1-based. */
  line: z.number().int(),
  /** The line without its end, shortened around the match when it is very long. */
  text: z.string(),
  /** Start (inclusive) and end (exclusive) of each match in `text`, in UTF-16 code units. */
  ranges: z.array(z.tuple([z.number().int(), z.number().int()])),
});
export type SearchMatch = z.infer<typeof searchMatch>;

export const listeningPort = z.object({
  port: z.number().int(),
  address: z.string(),
  pid: z.number().int().nullable(),
  process: z.string().nullable(),
  /** Its beginning, the words with blanks between them. */
  commandLine: z.string().nullable(),
});
export type ListeningPort = z.infer<typeof listeningPort>;

export const guestMetrics = z.object({
  uptimeSeconds: z.number(),
  load1: z.number(),
  cpuCount: z.number().int(),
  memoryTotalBytes: z.number(),
  memoryAvailableBytes: z.number(),
  diskTotalBytes: z.number(),
  diskFreeBytes: z.number(),
  processCount: z.number().int(),
  agentMemoryBytes: z.number(),
});
export type GuestMetrics = z.infer<typeof guestMetrics>;

export const guestActivity = z.object({
  /** Last request of an editor, SDK or CLI. */
  lastRequestMs: z.number(),
  lastTerminalOutputMs: z.number().nullable(),
  channels: z.number().int(),
  runningProcesses: z.number().int(),
  ptys: z.number().int(),
});
export type GuestActivity = z.infer<typeof guestActivity>;

/** What makes a restored machine this workspace's own; applied before user code runs. */
