import { createId, DormouseError, sleep } from "@dormouse/base";
import type { DebugSession } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { follow } from "../channel/follow.ts";
import type { DebugModel } from "../vscode/debug-model.ts";
import type { Api } from "../vscode/extension.ts";
import { attachToPort, attachToProcess, pickProcess } from "./attach.ts";
import { debugConfigurations, debuggerOf, sessionKey } from "./configurations.ts";
import { debugContributions } from "./contributions.ts";
import { DebugRelay } from "./relay.ts";

/** What debugging works with. */
export interface DebugOptions {
  api: Api;
  channel: Channel;
  /** The workspace's folder, as the editor names it. */
  folder: string;
  model: DebugModel;
  /** Shows a terminal of the machine that a debugger has opened. */
  showTerminal: (ptyId: string) => Promise<void>;
}

/** A session is taken up again so often before it is left alone. */
const attempts = 3;
const retryMs = 1000;

/**
 * Debugging in the machine. Sessions live there: those that this page starts, those of an earlier page, those of another
 * browser, and those that a debugger starts for further processes are all shown.
 */
export function registerDebug(options: DebugOptions): vscode.Disposable {
  const { api, channel, folder, model } = options;
  const { guest } = channel;
  const end = new AbortController();
  /** Sessions of the machine that the editor shows; undefined while it is about to. */
  const shown = new Map<string, vscode.DebugSession | undefined>();
  const tried = new Map<string, number>();
  /** Ended, or about to: nothing to be taken up again. */
  const finished = new Set<string>();
  const terminals = new Set<string>();
  let there: DebugSession[] = [];
  let isFirst = true;

  const adapter = async (session: vscode.DebugSession): Promise<vscode.DebugAdapterDescriptor> => {
    const { [sessionKey]: known, ...configuration } = session.configuration;
    const isKnown = typeof known === "string" && !finished.has(known);
    const sessionId = isKnown ? known : createId("debug");
    shown.set(sessionId, session);
    if (!isKnown) await guest.debug.start({ sessionId, configuration: configuration as DebugSession["configuration"] });
    const relay = new DebugRelay({
      channel,
      sessionId,
      clientId: createId("editor"),
      isLeaving: () => model.isLeaving,
      onOver: () => finished.add(sessionId),
      emitter: new api.EventEmitter(),
    });
    // Those that wait for this one.
    void show();
    return new api.DebugAdapterInlineImplementation(relay);
  };

  /** Shows a session that is in the machine and not in the editor. */
  const takeUp = async ({ sessionId, parentId, configuration }: DebugSession): Promise<void> => {
    shown.set(sessionId, undefined);
    tried.set(sessionId, (tried.get(sessionId) ?? 0) + 1);
    try {
      if (parentId === null) model.addBreakpoints(await guest.debug.breakpoints({ sessionId }));
      const parentSession = parentId === null ? undefined : shown.get(parentId);
      const isShown = await api.debug.startDebugging(
        api.workspace.workspaceFolders?.[0],
        { ...configuration, [sessionKey]: sessionId },
        {
          ...(parentSession ? { parentSession, lifecycleManagedByParent: true } : {}),
          consoleMode: parentSession ? api.DebugConsoleMode.MergeWithParent : api.DebugConsoleMode.Separate,
          compact: parentSession !== undefined,
          suppressSaveBeforeStart: true,
        },
      );
      if (isShown) return;
    } catch (caught) {
      // It has ended meanwhile, or is tried again below.
      console.warn(`Debug session ${sessionId}: ${DormouseError.from(caught).message}`);
    }
    shown.delete(sessionId);
    await sleep(retryMs, end.signal).catch(() => {});
    void show();
  };

  const show = async (): Promise<void> => {
    for (const session of there) {
      const { sessionId, parentId, state } = session;
      const isWanted = state !== "ended" && !shown.has(sessionId) && !finished.has(sessionId);
      const isPossible = parentId === null || shown.get(parentId) !== undefined;
      if (isWanted && isPossible && (tried.get(sessionId) ?? 0) < attempts) void takeUp(session);
    }
  };

  const hear = (sessions: DebugSession[]): void => {
    there = sessions;
    for (const ptyId of sessions.flatMap((session) => session.terminals)) {
      // Those of before come back with all other terminals.
      if (!terminals.has(ptyId) && !isFirst) void options.showTerminal(ptyId).catch(() => {});
      terminals.add(ptyId);
    }
    isFirst = false;
    void show();
  };

  const watch = async (): Promise<void> => {
    while (!end.signal.aborted) {
      try {
        await follow(channel, {
          open: () => guest.debug.watch({}, { signal: end.signal }),
          onEvent: ({ sessions }) => hear(sessions),
          signal: end.signal,
        });
      } catch (caught) {
        console.warn(`Debug sessions cannot be watched: ${DormouseError.from(caught).message}`);
      }
      await sleep(retryMs, end.signal).catch(() => {});
    }
  };
  void watch();

  const startFile = async (noDebug: boolean): Promise<void> => {
    const document = api.window.activeTextEditor?.document;
    const type = debuggerOf[document?.languageId ?? ""];
    if (!document || !type) return;
    if (document.isDirty) await document.save();
    const name = `${noDebug ? "Run" : "Debug"} ${document.uri.path.split("/").at(-1)}`;
    await api.debug.startDebugging(api.workspace.workspaceFolders?.[0], { type, request: "launch", name }, { noDebug });
  };

  const provider = debugConfigurations({ api, guest, folder });
  const types = debugContributions.debuggers.map(({ type }) => type);
  const { registerCommand } = api.commands;
  return api.Disposable.from(
    new api.Disposable(() => end.abort()),
    ...types.flatMap((type) => [
      api.debug.registerDebugConfigurationProvider(type, provider),
      api.debug.registerDebugAdapterDescriptorFactory(type, { createDebugAdapterDescriptor: adapter }),
    ]),
    api.debug.onDidTerminateDebugSession((session) => {
      for (const [sessionId, one] of shown) if (one?.id === session.id) shown.delete(sessionId);
      void show();
    }),
    registerCommand("dormouse.debugFile", () => startFile(false)),
    registerCommand("dormouse.runFile", () => startFile(true)),
    registerCommand("dormouse.attachToProcess", () => attachToProcess(api, guest)),
    registerCommand("dormouse.attachToPort", () => attachToPort(api)),
    registerCommand("dormouse.pickProcess", async () => {
      const process = await pickProcess(api, guest);
      return process && String(process.pid);
    }),
  );
}
