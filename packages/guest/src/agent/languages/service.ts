import { totalmem } from "node:os";
import { DormouseError } from "@dormouse/base";
import type { LanguageEvent, LanguageServer, LanguageSession } from "@dormouse/contract/language-schemas";
import { limits } from "@dormouse/contract/limits";
import { requestOf } from "../../process/command.ts";
import type { Spawner } from "../../process/spawner.ts";
import type { FileService } from "../files.ts";
import type { Machine } from "../session.ts";
import { type LanguageTools, serverFor } from "./servers.ts";
import { type LanguageServerSession, startServer } from "./session.ts";

/** A page that is not there for so long has no use for its servers; one that lost its connection is back by then. */
const graceMs = 60_000;
/** How so many sessions ended is remembered, for a page that asks late. */
const keptEndings = 64;

/**
 * Ends what takes more memory than it may, and has it be the first that the kernel ends when all memory is used. A limit
 * of the kernel's on what a process can write to (RLIMIT_DATA) holds for every server, whatever it is written in; a limit on
 * addresses would not do, since V8 and Go set whole ranges aside that they never use, and control groups are root's.
 */
const limitedScript = 'ulimit -d "$0" && { echo 500 > /proc/self/oom_score_adj; } 2>/dev/null; exec "$@"';

/** What {@link createLanguageService} works with. */
export interface LanguageServiceOptions {
  machine: Machine;
  spawner: Spawner;
  files: Pick<FileService, "read" | "exists">;
  tools: LanguageTools;
  /** Default {@link graceMs}. */
  graceMs?: number | undefined;
}

/** `languages.*`: language servers, each for one page. */
export type LanguageService = ReturnType<typeof createLanguageService>;

/** Starts language servers and ends them when their page has gone. */
export function createLanguageService(options: LanguageServiceOptions) {
  const { machine, spawner, files, tools } = options;
  const sessions = new Map<string, LanguageServerSession>();
  const starting = new Map<string, Promise<LanguageServerSession>>();
  const expiries = new Map<string, NodeJS.Timeout>();
  const endings = new Map<string, string>();

  const forget = (sessionId: string) => {
    sessions.delete(sessionId);
    clearTimeout(expiries.get(sessionId));
    expiries.delete(sessionId);
  };

  /** Ends it unless somebody reads by then; why one has ended is kept as long. */
  const expire = (sessionId: string) => {
    clearTimeout(expiries.get(sessionId));
    const timer = setTimeout(() => {
      const session = sessions.get(sessionId);
      if (session?.isOver) forget(sessionId);
      else if (session && !session.isFollowed) session.kill();
    }, options.graceMs ?? graceMs);
    expiries.set(sessionId, timer.unref());
  };

  const find = (sessionId: string): LanguageServerSession => {
    const session = sessions.get(sessionId);
    if (session) return session;
    const ending = endings.get(sessionId);
    const why = ending === undefined ? "" : `; ${ending}`;
    throw new DormouseError("not_found", `sessionId: no language server ${sessionId} is known here${why}`);
  };

  const readFile = async (path: string): Promise<string | undefined> => {
    try {
      return Buffer.from((await files.read(path)).content, "base64").toString("utf8");
    } catch {
      // Not there, or not to be read: as good as none.
      return undefined;
    }
  };

  const begin = async (sessionId: string, server: LanguageServer, folder: string): Promise<LanguageServerSession> => {
    const running = [...sessions.values()].filter(({ isOver }) => !isOver);
    if (running.length + starting.size >= limits.languageSessions) {
      const message = `${limits.languageSessions} language servers run already; close other pages of this workspace`;
      throw new DormouseError("resource_exhausted", message);
    }
    const memoryMib = tools.memoryMib ?? Math.floor(totalmem() / 1024 ** 2);
    const start = await serverFor(server, { tools, folder, memoryMib, readFile, isThere: files.exists });
    const { command, env, title, initializationOptions } = start;
    const limitMib = start.memoryMib.limit;
    const words = [...tools.shell, "-c", limitedScript, String(limitMib * 1024), ...command];
    const request = { ...requestOf(machine.session, { command: words, env }), folder };
    const session = await startServer({
      info: { sessionId, title, initializationOptions, schemaFolder: `${tools.folder}/schemas` },
      spawner,
      request,
      program: command[0] ?? "",
      limitMib,
      onEnd(reason) {
        endings.set(sessionId, reason);
        for (const [id] of endings) if (endings.size > keptEndings) endings.delete(id);
        expire(sessionId);
      },
    });
    sessions.set(sessionId, session);
    expire(sessionId);
    return session;
  };

  return {
    async start(sessionId: string, server: LanguageServer, folder: string): Promise<LanguageSession> {
      const known = sessions.get(sessionId);
      if (known) return known.info;
      const begun =
        starting.get(sessionId) ?? begin(sessionId, server, folder).finally(() => starting.delete(sessionId));
      starting.set(sessionId, begun);
      return (await begun).info;
    },

    async *attach(sessionId: string, after: number, signal?: AbortSignal): AsyncGenerator<LanguageEvent> {
      const session = find(sessionId);
      try {
        yield* session.attach(after, signal);
        if (session.isOver && !signal?.aborted) forget(sessionId);
      } finally {
        if (sessions.has(sessionId)) expire(sessionId);
      }
    },

    send: (sessionId: string, first: number, messages: readonly string[]): Promise<void> =>
      find(sessionId).send(first, messages),

    stop(sessionId: string): void {
      sessions.get(sessionId)?.kill();
    },

    /** At the agent's end. */
    close(): void {
      for (const session of sessions.values()) session.kill();
    },
  };
}
