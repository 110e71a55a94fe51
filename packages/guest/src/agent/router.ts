import { guestContract } from "@dormouse/contract/guest";
import { implement } from "@orpc/server";
import type { DebugService } from "./debug/service.ts";
import type { ExecService } from "./exec.ts";
import type { FileService } from "./files.ts";
import type { GitService } from "./git/service.ts";
import type { LanguageService } from "./languages/service.ts";
import type { MachineService } from "./machine.ts";
import type { PortService } from "./ports.ts";
import type { PtyService } from "./pty.ts";
import type { SearchService } from "./search.ts";
import type { WatchService } from "./watch.ts";

/** Everything the contract is made of. */
export interface Services {
  files: FileService;
  watch: WatchService;
  exec: ExecService;
  pty: PtyService;
  git: GitService;
  search: SearchService;
  ports: PortService;
  debug: DebugService;
  languages: LanguageService;
  machine: MachineService;
}

/**
 * Binds the contract to the services. What comes in is checked against the contract; what goes
 * out is our own and typed, and is not checked again: that would double the cost of each answer.
 */
export function createRouter({ files, watch, exec, pty, git, search, ports, debug, languages, machine }: Services) {
  const os = implement(guestContract, { initialOutputValidationIndex: Number.NaN });
  return {
    files: {
      stat: os.files.stat.handler(({ input }) => files.stat(input.path)),
      exists: os.files.exists.handler(async ({ input }) => ({ exists: await files.exists(input.path) })),
      list: os.files.list.handler(({ input, signal }) => files.list(input.path, signal)),
      read: os.files.read.handler(({ input }) => files.read(input.path)),
      write: os.files.write.handler(({ input }) =>
        files.write(input.path, Buffer.from(input.content, "base64"), input),
      ),
      makeDirectory: os.files.makeDirectory.handler(({ input }) => files.makeDirectory(input.path, input.parents)),
      rename: os.files.rename.handler(({ input }) => files.rename(input.from, input.to, input.overwrite)),
      copy: os.files.copy.handler(({ input }) => files.copy(input.from, input.to, input.overwrite)),
      remove: os.files.remove.handler(({ input }) => nothing(files.remove(input.path, input.recursive))),
      watch: os.files.watch.handler(({ input, signal }) => watch.watch(input, signal)),
    },
    exec: {
      run: os.exec.run.handler(({ input, signal }) => exec.run(input, signal)),
      adopt: os.exec.adopt.handler(({ input, signal }) => exec.adopt(input, signal)),
      start: os.exec.start.handler(({ input }) => exec.start(input)),
      attach: os.exec.attach.handler(({ input, signal }) => exec.attach(input.processId, input.offset, signal)),
      list: os.exec.list.handler(() => ({ processes: exec.list() })),
      writeStdin: os.exec.writeStdin.handler(({ input }) => nothing(exec.writeStdin(input.processId, input.data))),
      closeStdin: os.exec.closeStdin.handler(({ input }) => nothing(exec.closeStdin(input.processId))),
      signal: os.exec.signal.handler(({ input }) => nothing(exec.signal(input.processId, input.signal))),
    },
    pty: {
      create: os.pty.create.handler(({ input }) => pty.create(input)),
      list: os.pty.list.handler(async () => ({ ptys: await pty.list() })),
      attach: os.pty.attach.handler(({ input, signal }) => pty.attach(input.id, input.offset, signal)),
      input: os.pty.input.handler(({ input }) => nothing(pty.input(input.id, input.data))),
      resize: os.pty.resize.handler(({ input }) => nothing(pty.resize(input.id, input))),
      kill: os.pty.kill.handler(({ input }) => nothing(pty.kill(input.id))),
    },
    git: {
      discover: os.git.discover.handler(async ({ input }) => ({ roots: await git.discover(input.path) })),
      init: os.git.init.handler(({ input }) => nothing(git.init(input.cwd))),
      status: os.git.status.handler(({ input, signal }) => git.status(input.cwd, signal)),
      unpushed: os.git.unpushed.handler(({ input, signal }) => git.unpushed(input.cwd, signal)),
      diff: os.git.diff.handler(({ input }) => git.diff(input.cwd, input)),
      show: os.git.show.handler(async ({ input }) => ({ content: await git.show(input.cwd, input.ref, input.path) })),
      stage: os.git.stage.handler(({ input }) => nothing(git.stage(input.cwd, input.paths))),
      stageContent: os.git.stageContent.handler(({ input }) =>
        nothing(git.stageContent(input.cwd, input.path, input.content)),
      ),
      unstage: os.git.unstage.handler(({ input }) => nothing(git.unstage(input.cwd, input.paths))),
      discard: os.git.discard.handler(({ input }) => nothing(git.discard(input.cwd, input.paths))),
      commit: os.git.commit.handler(async ({ input }) => ({ hash: await git.commit(input.cwd, input) })),
      branches: os.git.branches.handler(async ({ input }) => ({ branches: await git.branches(input.cwd) })),
      checkout: os.git.checkout.handler(({ input }) => nothing(git.checkout(input.cwd, input))),
      deleteBranch: os.git.deleteBranch.handler(({ input }) =>
        nothing(git.deleteBranch(input.cwd, input.name, input.force)),
      ),
      log: os.git.log.handler(async ({ input }) => ({ commits: await git.log(input.cwd, input) })),
      blame: os.git.blame.handler(({ input, signal }) => git.blame(input.cwd, input, signal)),
      stashes: os.git.stashes.handler(async ({ input }) => ({ stashes: await git.stashes(input.cwd) })),
      stash: os.git.stash.handler(({ input }) => nothing(git.stash(input.cwd, input))),
      unstash: os.git.unstash.handler(({ input }) => nothing(git.unstash(input.cwd, input.hash, input.keep))),
      dropStash: os.git.dropStash.handler(({ input }) => nothing(git.dropStash(input.cwd, input.hash))),
      fetch: os.git.fetch.handler(({ input, signal }) => git.fetch(input.cwd, input, signal)),
      pull: os.git.pull.handler(({ input, signal }) => git.pull(input.cwd, input, signal)),
      push: os.git.push.handler(({ input, signal }) => git.push(input.cwd, input, signal)),
      clone: os.git.clone.handler(({ input, signal }) => git.clone(input, signal)),
    },
    search: {
      text: os.search.text.handler(({ input, signal }) => search.text(input, signal)),
      names: os.search.names.handler(({ input, signal }) => search.names(input, signal)),
    },
    ports: {
      list: os.ports.list.handler(() => ({ ports: ports.list() })),
      watch: os.ports.watch.handler(({ signal }) => ports.watch(signal)),
    },
    debug: {
      start: os.debug.start.handler(({ input }) => debug.start(input.sessionId, input.configuration)),
      list: os.debug.list.handler(() => ({ sessions: debug.list() })),
      watch: os.debug.watch.handler(({ signal }) => debug.watch(signal)),
      breakpoints: os.debug.breakpoints.handler(({ input }) => debug.breakpoints(input.sessionId)),
      attach: os.debug.attach.handler(({ input, signal }) => debug.attach(input.sessionId, input, signal)),
      send: os.debug.send.handler(({ input }) => nothing(debug.send(input.sessionId, input.clientId, input.messages))),
      stop: os.debug.stop.handler(({ input }) => nothing(debug.stop(input.sessionId))),
      processes: os.debug.processes.handler(() => ({ processes: debug.processes() })),
      openInspector: os.debug.openInspector.handler(async ({ input, signal }) => ({
        port: await debug.openInspector(input.pid, signal),
      })),
    },
    languages: {
      start: os.languages.start.handler(({ input }) => languages.start(input.sessionId, input.server, input.folder)),
      attach: os.languages.attach.handler(({ input, signal }) =>
        languages.attach(input.sessionId, input.after, signal),
      ),
      send: os.languages.send.handler(({ input }) =>
        nothing(languages.send(input.sessionId, input.first, input.messages)),
      ),
      stop: os.languages.stop.handler(({ input }) => nothing(languages.stop(input.sessionId))),
    },
    machine: {
      collectGarbage: os.machine.collectGarbage.handler(() => nothing(machine.collectGarbage())),
      metrics: os.machine.metrics.handler(() => machine.metrics()),
      activity: os.machine.activity.handler(() => machine.report()),
    },
  };
}

async function nothing(work: unknown): Promise<Record<string, never>> {
  await work;
  return {};
}
