import { eventIterator, oc } from "@orpc/contract";
import { z } from "zod";
import * as d from "./debug-schemas.ts";
import * as s from "./guest-schemas.ts";
import * as l from "./language-schemas.ts";
import { limits } from "./limits.ts";

const empty = z.object({});
const at = z.object({ path: s.guestPath });
const repository = z.object({ cwd: s.guestPath });
const processRef = z.object({ processId: z.string() });
const ptyRef = z.object({ id: z.string() });
const size = { cols: z.number().int().min(2).max(1000), rows: z.number().int().min(1).max(1000) };

const files = {
  stat: oc.input(at).output(s.fileEntry),
  exists: oc.input(at).output(z.object({ exists: z.boolean() })),
  list: oc.input(at).output(z.object({ entries: z.array(s.fileEntry), truncated: z.boolean() })),
  read: oc.input(at).output(z.object({ content: s.base64, entry: s.fileEntry })),
  write: oc
    .input(
      z.object({
        path: s.guestPath,
        content: s.base64,
        /** Refuse with `already_exists` when false and the file is there. */
        overwrite: z.boolean().default(true),
        /** Refuse with `not_found` when false and the file is not there. */
        create: z.boolean().default(true),
        /** Make missing parent folders. */
        parents: z.boolean().default(true),
        mode: z.number().int().optional(),
        /** Refuse with `aborted` when the file's etag is another by now. */
        ifEtag: z.string().optional(),
      }),
    )
    .output(s.fileEntry),
  makeDirectory: oc.input(at.extend({ parents: z.boolean().default(true) })).output(s.fileEntry),
  rename: oc
    .input(z.object({ from: s.guestPath, to: s.guestPath, overwrite: z.boolean().default(false) }))
    .output(s.fileEntry),
  copy: oc
    .input(z.object({ from: s.guestPath, to: s.guestPath, overwrite: z.boolean().default(false) }))
    .output(s.fileEntry),
  remove: oc.input(at.extend({ recursive: z.boolean().default(false) })).output(empty),
  /** First event is an empty batch: from then on changes are seen. `overflow` says that some were missed. */
  watch: oc
    .input(at.extend({ recursive: z.boolean().default(true), exclude: z.array(z.string()).default([]) }))
    .output(eventIterator(z.object({ changes: z.array(s.fileChange), overflow: z.boolean() }))),
};

const exec = {
  /** Starts, waits, answers: one round trip for what ends soon. */
  run: oc
    .input(
      s.execOptions.extend({
        stdin: s.base64.optional(),
        maxOutputBytes: z.number().int().positive().max(limits.execOutputBytes).optional(),
        /**
         * Answer by then at the latest, so that no request hangs for hours: when the command goes on,
         * the call fails with `deadline_exceeded` and `details.processId` names what to attach to.
         */
        waitMs: z.number().int().positive().optional(),
      }),
    )
    .output(s.execResult),
  /** Goes on with a command that the host started by the machine's process starter and let go. The host's own call. */
  adopt: oc.input(s.releasedCommand).output(s.execResult),
  /** Starts a process that outlives this call and every attachment. */
  start: oc.input(s.execOptions.extend({ stdin: z.boolean().default(false) })).output(s.processInfo),
  /** Replays kept output from `offset` on, then follows until the exit event. */
  attach: oc.input(processRef.extend({ offset: z.number().default(0) })).output(eventIterator(s.processEvent)),
  list: oc.input(empty).output(z.object({ processes: z.array(s.processInfo) })),
  writeStdin: oc.input(processRef.extend({ data: s.base64 })).output(empty),
  closeStdin: oc.input(processRef).output(empty),
  /** Sends a signal, by name such as `SIGTERM`, to the process group. */
  signal: oc.input(processRef.extend({ signal: z.string() })).output(empty),
};

const pty = {
  create: oc
    .input(
      z.object({
        ...size,
        /** Default: the user's login shell. */
        command: z.array(z.string()).min(1).optional(),
        cwd: s.guestPath.optional(),
        env: s.environment.optional(),
        user: s.userName.optional(),
        title: z.string().max(200).optional(),
      }),
    )
    .output(s.ptyInfo),
  list: oc.input(empty).output(z.object({ ptys: z.array(s.ptyInfo) })),
  /** Replays the scrollback from `offset` on (0: all that is kept), then follows. Any number of clients at once. */
  attach: oc.input(ptyRef.extend({ offset: z.number().default(0) })).output(eventIterator(s.ptyEvent)),
  input: oc.input(ptyRef.extend({ data: z.string() })).output(empty),
  resize: oc.input(ptyRef.extend(size)).output(empty),
  kill: oc.input(ptyRef).output(empty),
};

const gitStream = eventIterator(s.gitProgress, z.object({ head: z.string().nullable() }));
const remote = repository.extend({
  remote: z.string().optional(),
  branch: z.string().optional(),
  credential: s.gitCredential.optional(),
});
const stash = repository.extend({ hash: z.string() });
const paths = repository.extend({ paths: z.array(z.string()).min(1) });

const git = {
  /** Roots of the repositories at and below `path`, to a small depth. */
  discover: oc.input(at).output(z.object({ roots: z.array(s.guestPath) })),
  init: oc.input(repository).output(empty),
  status: oc.input(repository).output(s.gitStatus),
  unpushed: oc.input(repository).output(s.gitUnpushed),
  diff: oc
    .input(repository.extend({ path: z.string().optional(), staged: z.boolean().default(false) }))
    .output(z.object({ patch: z.string(), truncated: z.boolean() })),
  /** A file as it is at `ref`; `:` means the index. `not_found` where it is not. */
  show: oc.input(repository.extend({ ref: z.string(), path: z.string() })).output(z.object({ content: s.base64 })),
  stage: oc.input(paths).output(empty),
  /** Puts a file into the index with this content, whatever the worktree has. */
  stageContent: oc.input(repository.extend({ path: z.string(), content: s.base64 })).output(empty),
  unstage: oc.input(paths).output(empty),
  /** Worktree changes of tracked files are undone, untracked files removed. */
  discard: oc.input(paths).output(empty),
  commit: oc
    .input(
      repository.extend({
        message: z.string(),
        amend: z.boolean().default(false),
        /** Stage every tracked change first. */
        all: z.boolean().default(false),
      }),
    )
    .output(z.object({ hash: z.string() })),
  branches: oc.input(repository).output(z.object({ branches: z.array(s.gitBranch) })),
  checkout: oc
    .input(
      repository.extend({ ref: z.string(), create: z.boolean().default(false), startPoint: z.string().optional() }),
    )
    .output(empty),
  deleteBranch: oc.input(repository.extend({ name: z.string(), force: z.boolean().default(false) })).output(empty),
  log: oc
    .input(
      repository.extend({
        ref: z.string().optional(),
        path: z.string().optional(),
        limit: z.number().int().min(1).max(1000).default(50),
        skip: z.number().int().min(0).default(0),
      }),
    )
    .output(z.object({ commits: z.array(s.gitCommit) })),
  /** Of the file as it is in the worktree, or of `content`. `not_found` when git does not know it. */
  blame: oc.input(repository.extend({ path: z.string(), content: s.base64.optional() })).output(s.gitBlame),
  /** Newest first. */
  stashes: oc.input(repository).output(z.object({ stashes: z.array(s.gitStash) })),
  /** Puts all changes away. `nothing_to_commit` where there are none. */
  stash: oc
    .input(
      repository.extend({
        message: z.string().max(1000).optional(),
        untracked: z.boolean().default(false),
        /** What is staged stays in the worktree, and is put away too. */
        keepIndex: z.boolean().default(false),
      }),
    )
    .output(empty),
  /** Brings a stash's changes back, and removes it unless it is to be kept. With a conflict it is kept. */
  unstash: oc.input(stash.extend({ keep: z.boolean().default(false) })).output(empty),
  dropStash: oc.input(stash).output(empty),
  fetch: oc.input(remote).output(gitStream),
  pull: oc.input(remote.extend({ rebase: z.boolean().default(false) })).output(gitStream),
  push: oc
    .input(remote.extend({ setUpstream: z.boolean().default(false), force: z.boolean().default(false) }))
    .output(gitStream),
  clone: oc
    .input(
      z.object({
        url: z.string().min(1).max(4096),
        path: s.guestPath,
        ref: z.string().max(255).optional(),
        credential: s.gitCredential.optional(),
        depth: z.number().int().positive().optional(),
      }),
    )
    .output(gitStream),
};

const search = {
  text: oc
    .input(
      z.object({
        cwd: s.guestPath,
        query: z.string().min(1).max(10_000),
        regex: z.boolean().default(false),
        caseSensitive: z.boolean().default(false),
        wholeWord: z.boolean().default(false),
        include: z.array(z.string()).default([]),
        exclude: z.array(z.string()).default([]),
        maxResults: z.number().int().positive().max(limits.searchResults).default(2000),
      }),
    )
    .output(eventIterator(z.object({ matches: z.array(s.searchMatch) }), z.object({ limitHit: z.boolean() }))),
  /**
   * Names of all files below a folder, relative to it, those that git ignores left out; as the machine finds them. Each event
   * holds many, with `//` between them, which is in no name: a list of 100,000 strings takes the agent long to write.
   */
  names: oc
    .input(z.object({ cwd: s.guestPath, exclude: z.array(z.string()).default([]) }))
    .output(eventIterator(z.object({ names: z.string() }), z.object({ limitHit: z.boolean() }))),
};

const ports = {
  list: oc.input(empty).output(z.object({ ports: z.array(s.listeningPort) })),
  /** First event is the whole list, then each change. */
  watch: oc
    .input(empty)
    .output(eventIterator(z.object({ opened: z.array(s.listeningPort), closed: z.array(s.listeningPort) }))),
};

const debugRef = z.object({ sessionId: d.debugId });
const debugClient = debugRef.extend({ clientId: d.debugId });

/**
 * Debug sessions live in the machine and outlive every editor: any number of editors follow one, each speaking the Debug
 * Adapter Protocol as if it had the adapter for itself.
 */
const debug = {
  /** Starts the adapter that the configuration's `type` names; the first editor that attaches has it set up. */
  start: oc.input(debugRef.extend({ configuration: d.debugConfiguration })).output(d.debugSession),
  list: oc.input(empty).output(z.object({ sessions: z.array(d.debugSession) })),
  /** First event is what there is, then all that is there after each change. */
  watch: oc.input(empty).output(eventIterator(z.object({ sessions: z.array(d.debugSession) }))),
  breakpoints: oc.input(debugRef).output(d.debugBreakpoints),
  /**
   * The adapter's messages for one editor. The first event says that it is attached and may send; with `after` a known
   * editor goes on behind that message. Ends with the session.
   */
  attach: oc
    .input(debugClient.extend({ after: z.number().int().min(0).default(0) }))
    .output(eventIterator(d.debugEvent)),
  /**
   * Messages for the adapter, in order, one call after the other. Those with a `seq` that was sent already are left out, so this
   * may be repeated.
   */
  send: oc.input(debugClient.extend({ messages: z.array(d.debugMessage).min(1).max(1000) })).output(empty),
  /** Ends the session, and what it started, without asking the adapter for long. */
  stop: oc.input(debugRef).output(empty),
  /** The user's processes, to attach to one; newest first. */
  processes: oc.input(empty).output(z.object({ processes: z.array(d.debuggableProcess) })),
  /** Has a Node.js that runs listen for a debugger, on this port of the machine's loopback. */
  openInspector: oc.input(z.object({ pid: z.number().int().min(1) })).output(z.object({ port: z.number().int() })),
};

const languageRef = z.object({ sessionId: l.languageSessionId });

/** Language servers: one for each page and language, which ends when the page has been away for a minute. */
const languages = {
  /** Starts the server; asked twice it answers the same. `folder` is the workspace's, where the server runs. */
  start: oc.input(languageRef.extend({ server: l.languageServer, folder: s.guestPath })).output(l.languageSession),
  /** The server's messages, from the one behind `after`. Ends with the server. */
  attach: oc
    .input(languageRef.extend({ after: z.number().int().min(0).default(0) }))
    .output(eventIterator(l.languageEvent)),
  /**
   * Messages for the server, in order; `first` is the number of the first of them, counted from 1. Those that were sent
   * already are left out, so this may be repeated. Answers when the server has taken them.
   */
  send: oc
    .input(
      languageRef.extend({ first: z.number().int().min(1), messages: z.array(l.languageMessage).min(1).max(1000) }),
    )
    .output(empty),
  /** Ends the server at once. One that is not there any more is no error. */
  stop: oc.input(languageRef).output(empty),
};

const machine = {
  /** The agent gives up the memory that it does not use any more: a snapshot that is taken next holds less. */
  collectGarbage: oc.input(empty).output(empty),
  metrics: oc.input(empty).output(s.guestMetrics),
  activity: oc.input(empty).output(s.guestActivity),
};

/**
 * What the agent in a machine offers its host. Spoken as oRPC over HTTP (`/rpc`) and
 * over one WebSocket per client (`/channel`). Whole files of any size go through
 * `GET` and `PUT /file?path=…` as raw bodies. `GET /port/N` with `Upgrade: tcp` becomes a connection to what listens on
 * that port of the machine's loopback, or is refused as `unavailable`. Every call carries the host's token.
 */
export const guestContract = { files, exec, pty, git, search, ports, debug, languages, machine };
export type GuestContract = typeof guestContract;
