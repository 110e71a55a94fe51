import { DormouseError } from "@dormouse/base";
import type {
  DebugBreakpoints,
  DebugConfiguration,
  DebugEvent,
  DebugMessage,
  DebugSession as DebugSessionInfo,
} from "@dormouse/contract/debug-schemas";
import { limits } from "@dormouse/contract/limits";
import { requestOf } from "../../process/command.ts";
import type { Spawner } from "../../process/spawner.ts";
import type { PortService } from "../ports.ts";
import type { PtyService } from "../pty.ts";
import { randomId } from "../random-id.ts";
import type { Machine } from "../session.ts";
import { type AdapterStart, adapterFor, type DebugTools } from "./adapters.ts";
import { type AdapterProcess, runningAdapter, startAdapter } from "./connection.ts";
import { openInspector } from "./inspector.ts";
import { listProcesses } from "./processes.ts";
import type { DapRequest } from "./protocol.ts";
import { createDebugSession, type DebugSession } from "./session.ts";
import { openDebugTerminal } from "./terminal.ts";

/** What {@link createDebugService} works with. */
export interface DebugServiceOptions {
  machine: Machine;
  spawner: Spawner;
  pty: PtyService;
  ports: Pick<PortService, "list">;
  tools: DebugTools;
}

/** `debug.*`: sessions that live in the machine, whoever watches. */
export type DebugService = ReturnType<typeof createDebugService>;

interface Entry {
  session: DebugSession;
  adapter: AdapterProcess;
  start: AdapterStart;
}

/** How so many sessions ended is remembered, for an editor that asks a moment late. */
const keptEndings = 64;

/** Starts debug adapters and keeps their sessions. */
export function createDebugService({ machine, spawner, pty, ports, tools }: DebugServiceOptions) {
  const entries = new Map<string, Entry>();
  const endings = new Map<string, string>();
  const starting = new Map<string, Promise<DebugSessionInfo>>();
  let changed = Promise.withResolvers<void>();
  const onChange = () => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };

  const find = (sessionId: string): DebugSession => {
    const entry = entries.get(sessionId);
    if (entry) return entry.session;
    const ending = endings.get(sessionId);
    const why = ending === undefined ? "" : `; ${ending}`;
    throw new DormouseError("not_found", `sessionId: no debug session ${sessionId} is known here${why}`);
  };

  const list = (): DebugSessionInfo[] => [...entries.values()].map(({ session }) => session.info);

  /** A session over an adapter that runs. */
  const open = async (
    sessionId: string,
    options: {
      parentId: string | null;
      configuration: DebugConfiguration;
      adapter: AdapterProcess;
      start: AdapterStart;
    },
  ): Promise<DebugSession> => {
    const { parentId, configuration, adapter, start } = options;
    const session: DebugSession = await createDebugSession({
      sessionId,
      parentId,
      configuration,
      adapterType: start.type,
      connect: adapter.connect,
      onRequest: (request) => answer(sessionId, request),
      onChange,
      onEnd: (reason) => {
        entries.delete(sessionId);
        endings.set(sessionId, reason);
        for (const [id] of endings) if (endings.size > keptEndings) endings.delete(id);
        for (const child of [...entries.values()]) {
          if (child.session.info.parentId === sessionId) void child.session.end();
        }
        if (parentId === null) adapter.kill();
        onChange();
      },
    });
    entries.set(sessionId, { session, adapter, start });
    onChange();
    return session;
  };

  const answer = async (sessionId: string, request: DapRequest): Promise<Record<string, unknown> | undefined> => {
    const { session } = entries.get(sessionId) ?? {};
    if (!session) throw new DormouseError("not_found", "the debug session is over");
    if (request.command === "runInTerminal") {
      const { id, pid } = await openDebugTerminal(pty, session.info, request.arguments ?? {});
      session.info.terminals = [...session.info.terminals, id];
      onChange();
      return { shellProcessId: pid };
    }
    if (request.command === "startDebugging") {
      await startChild(sessionId, request.arguments ?? {});
      return undefined;
    }
    throw new DormouseError("unimplemented", `${request.command} is not offered here`);
  };

  /** Set up here and not by an editor: a program's processes are debugged while no page is open, too. */
  const startChild = async (parentId: string, given: Readonly<Record<string, unknown>>): Promise<void> => {
    const parent = entries.get(parentId);
    if (!parent) throw new DormouseError("not_found", "the debug session is over");
    makeRoom(entries.size);
    const { configuration: parents } = parent.session.info;
    const wanted = given.configuration as Record<string, unknown>;
    const request = given.request === "attach" ? "attach" : "launch";
    const name = typeof wanted.name === "string" ? wanted.name.slice(0, 200) : parents.name;
    const configuration = { ...wanted, type: parents.type, request, name } as DebugConfiguration;
    if (parents.noDebug === true) configuration.noDebug = true;
    const { adapter, start } = parent;
    const child = await open(randomId("debug"), { parentId, configuration, adapter, start });
    const breakpoints: DebugBreakpoints = rootOf(parent.session).breakpoints;
    void child.begin(parent.session.initializeArguments, breakpoints).catch(() => child.end());
  };

  const rootOf = (session: DebugSession): DebugSession => {
    const parent = entries.get(session.info.parentId ?? "");
    return parent ? rootOf(parent.session) : session;
  };

  const begin = async (sessionId: string, configuration: DebugConfiguration): Promise<DebugSessionInfo> => {
    makeRoom(entries.size + starting.size);
    const openOn = async (adapter: AdapterProcess) => {
      try {
        return (await open(sessionId, { parentId: null, configuration, adapter, start })).info;
      } catch (error) {
        adapter.kill();
        throw error;
      }
    };
    const start = adapterFor(configuration, tools, `/tmp/.dormouse-${randomId("debug")}.sock`);
    if (start.address) return openOn(runningAdapter(start.address));
    const { command, env, socket, needs } = start;
    const cwd =
      typeof configuration.cwd === "string" && configuration.cwd.startsWith("/") ? configuration.cwd : undefined;
    const request = requestOf(machine.session, { command, ...(env ? { env } : {}) });
    // Where it runs decides what relative paths of a configuration mean; a folder that is not there is the program's problem.
    const folder = cwd ?? request.folder;
    const adapter = await startAdapter({
      spawner,
      request: folder === undefined ? request : { ...request, folder },
      root: machine.root,
      socket,
      needs,
    });
    return openOn(adapter);
  };

  return {
    list,

    async *watch(signal?: AbortSignal): AsyncGenerator<{ sessions: DebugSessionInfo[] }> {
      const left = Promise.withResolvers<void>();
      signal?.addEventListener("abort", () => left.resolve(), { once: true });
      while (!signal?.aborted) {
        const next = changed.promise;
        // As they are now, and not as they will be when this is sent.
        yield { sessions: structuredClone(list()) };
        await Promise.race([next, left.promise]);
      }
    },

    /** Starts a session; asked twice it answers the same. */
    async start(sessionId: string, configuration: DebugConfiguration): Promise<DebugSessionInfo> {
      const known = entries.get(sessionId)?.session.info;
      if (known) return known;
      const begun =
        starting.get(sessionId) ?? begin(sessionId, configuration).finally(() => starting.delete(sessionId));
      starting.set(sessionId, begun);
      return begun;
    },

    attach: (
      sessionId: string,
      client: { clientId: string; after: number },
      signal?: AbortSignal,
    ): AsyncGenerator<DebugEvent> => find(sessionId).attach(client.clientId, client.after, signal),

    send: (sessionId: string, clientId: string, messages: readonly DebugMessage[]): void =>
      find(sessionId).send(clientId, messages),

    breakpoints: (sessionId: string): DebugBreakpoints => find(sessionId).breakpoints,

    async stop(sessionId: string): Promise<void> {
      await find(sessionId).end();
    },

    processes: () => listProcesses(machine.root),

    openInspector: (pid: number, signal?: AbortSignal): Promise<number> =>
      openInspector({ machine, spawner, ports }, pid, signal),

    /** At the agent's end. */
    close(): void {
      for (const { adapter } of entries.values()) adapter.kill();
    },
  };
}

function makeRoom(count: number): void {
  if (count < limits.debugSessions) return;
  throw new DormouseError(
    "resource_exhausted",
    `${limits.debugSessions} debug sessions run already; end one of them first`,
  );
}
