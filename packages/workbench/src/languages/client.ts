import { DormouseError } from "@dormouse/base";
import type * as vscode from "vscode";
import {
  BaseLanguageClient,
  CloseAction,
  type ConfigurationParams,
  ErrorAction,
  type LanguageClientOptions,
  type MessageTransports,
  RevealOutputChannelOn,
  vsdiag,
} from "vscode-languageclient/browser";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { extendJson } from "./json.ts";
import type { ServerDescription } from "./servers.ts";
import { completeSettings } from "./settings.ts";
import { openTransport, type Transport } from "./transport.ts";

/** What {@link createClient} works with. */
export interface ClientOptions {
  api: Api;
  channel: Channel;
  /** The workspace's folder, as the editor names it. */
  folder: string;
  description: ServerDescription;
  selector: readonly { language: string; scheme: string }[];
  log: vscode.LogOutputChannel;
  /** What runs has changed. */
  onState: (state: ClientState) => void;
}

/** restarting: it has ended and is started anew. failed: it stays as it is until somebody wants it again. */
export type ClientState =
  | { kind: "starting" | "restarting" }
  | { kind: "running"; title: string }
  | { kind: "failed"; reason: string };

/** A server that is in use. */
export interface LanguageClient {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A server that ends so often in this time is not started again. */
const restarts = 4;
const restartsWithinMs = 3 * 60_000;
/** A server says goodbye within this, or is ended. */
const goodbyeMs = 3000;

/** Files of others are looked at, and not to be mended. */
const foreign = /^\/(usr|run\/dormouse)\/|\/(node_modules|site-packages|dist-packages)\//;

/** The editor's side of a server in the machine. It is started again when it ends, but not for ever. */
export function createClient(options: ClientOptions): LanguageClient {
  const { api, channel, folder, description, log, onState } = options;
  const ends: number[] = [];
  let transport: Transport | undefined;
  let isRunning = false;
  let isStopping = false;
  let reason = "";

  const restart = (): boolean => {
    if (!isRunning || isStopping) return false;
    const now = performance.now();
    ends.push(now);
    while ((ends[0] ?? now) < now - restartsWithinMs) ends.shift();
    return ends.length <= restarts;
  };

  const clientOptions: LanguageClientOptions = {
    documentSelector: [...options.selector],
    outputChannel: log,
    traceOutputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationOptions: () => transport?.info.initializationOptions ?? {},
    // What goes wrong is told here, once, with the log.
    initializationFailedHandler: () => false,
    errorHandler: {
      error: (error) => {
        log.error(error.message);
        return { action: ErrorAction.Continue, handled: true };
      },
      closed: () => {
        const isAgain = restart();
        if (isAgain) {
          log.warn(`${description.title}: ${reason}; it is started again`);
          onState({ kind: "restarting" });
        } else if (isRunning && !isStopping) {
          onState({
            kind: "failed",
            reason: `it ended ${ends.length} times in a few minutes, the last time: ${reason}`,
          });
        }
        return { action: isAgain ? CloseAction.Restart : CloseAction.DoNotRestart, handled: true };
      },
    },
    synchronize: { configurationSection: [...description.sections] },
    middleware: {
      handleDiagnostics: (uri, diagnostics, next) => next(uri, foreign.test(uri.path) ? [] : diagnostics),
      provideDiagnostics: (document, previous, token, next) => {
        const { path } = "uri" in document ? document.uri : document;
        return foreign.test(path)
          ? { kind: vsdiag.DocumentDiagnosticReportKind.full, items: [] }
          : next(document, previous, token);
      },
      workspace: {
        configuration: async (params: ConfigurationParams, token, next) => {
          const values = await next(params, token);
          if (!Array.isArray(values)) return values;
          return Promise.all(
            params.items.map(({ section = "" }, index) => settings(section, values[index] as Record<string, unknown>)),
          );
        },
      },
    },
  };
  const settings = (section: string, value: Record<string, unknown> | null) =>
    completeSettings({ section, value, channel, folder, schemaFolder: transport?.info.schemaFolder ?? "" });

  class Client extends BaseLanguageClient {
    /** What concerns people is told here, in one message. */
    override error(message: string, data?: unknown): void {
      super.error(message, data, false);
    }

    protected override async createMessageTransports(): Promise<MessageTransports> {
      const opened = await openTransport({
        channel,
        server: description.server,
        folder: toGuestPath(folder),
        onLog: (text) => log.info(text.trimEnd()),
        onEnd: (ending) => {
          reason = ending;
          if (!isStopping) log.info(`${description.title}: ${ending}`);
        },
      });
      transport = opened;
      return opened.transports;
    }
  }
  const client = new Client(`dormouse.${description.name}`, description.title, clientOptions);
  const leave = () => transport?.stop();
  window.addEventListener("pagehide", leave);
  client.onDidChangeState(() => {
    if (!client.isRunning()) return;
    isRunning = true;
    onState({ kind: "running", title: transport?.info.title ?? description.title });
  });
  if (description.name === "json") extendJson(client, api, () => transport?.info.schemaFolder ?? "");

  return {
    async start() {
      onState({ kind: "starting" });
      try {
        await client.start();
      } catch (caught) {
        transport?.stop();
        // What it wrote before it ended says more than that a connection was closed.
        const failure = reason || DormouseError.from(caught).message;
        log.error(`${description.title}: ${failure}`);
        onState({ kind: "failed", reason: failure });
      }
    },

    async stop() {
      isStopping = true;
      window.removeEventListener("pagehide", leave);
      await client.dispose(goodbyeMs).catch(() => {});
      transport?.stop();
    },
  };
}
