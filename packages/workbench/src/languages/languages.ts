import { createId } from "@dormouse/base";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import type { ClientState, LanguageClient } from "./client.ts";
import { type ServerDescription, withSetting } from "./servers.ts";

/** What language servers work with. */
export interface LanguageOptions {
  api: Api;
  channel: Channel;
  /** The workspace's folder, as the editor names it. */
  folder: string;
}

/** A server is ended when nothing of its languages has been open for so long. */
const idleMs = 60_000;

const setting = "dormouse.languageServers";

/** One server while the page is open: it runs as long as files of its languages are open. */
interface Keeper extends vscode.Disposable {
  readonly description: ServerDescription;
  readonly log: vscode.LogOutputChannel;
  /** Looks at what is open now. */
  update(): void;
  restart(): Promise<void>;
}

/**
 * Language servers of the machine. Nothing of them is loaded or started before a file of theirs is open, and one that
 * nothing is open for is ended after a minute.
 */
export function registerLanguages(options: LanguageOptions): vscode.Disposable {
  const { api } = options;
  let keepers: Keeper[] = [];

  const read = () => {
    const { servers, problems } = withSetting(api.workspace.getConfiguration().get(setting));
    const known = new Map(keepers.map((keeper) => [JSON.stringify(keeper.description), keeper]));
    keepers = servers.map((description) => {
      const key = JSON.stringify(description);
      const keeper = known.get(key) ?? keep(options, description);
      known.delete(key);
      return keeper;
    });
    for (const left of known.values()) left.dispose();
    for (const problem of problems) void api.window.showErrorMessage(`${setting}: ${problem}.`);
    update();
  };
  const update = () => {
    for (const keeper of keepers) keeper.update();
  };

  /** The one that is meant, or asked for. */
  const choose = async (title: string, name?: string): Promise<Keeper | undefined> => {
    const language = api.window.activeTextEditor?.document.languageId;
    const items = keepers.map((keeper) => {
      const { description } = keeper;
      const isHere = language !== undefined && description.languages.includes(language);
      return { label: description.title, description: isHere ? "for the open file" : "", keeper, isHere };
    });
    if (name !== undefined) return items.find(({ keeper }) => keeper.description.name === name)?.keeper;
    items.sort((a, b) => Number(b.isHere) - Number(a.isHere));
    return (await api.window.showQuickPick(items, { title }))?.keeper;
  };
  const restart = async (name?: string) => (await choose("Restart Language Server", name))?.restart();
  const showLog = async (name?: string) => (await choose("Show Log of Language Server", name))?.log.show();
  const showOptions = async (name: string) => {
    const items = [
      { label: "$(debug-restart) Restart Server", run: () => restart(name) },
      { label: "$(output) Show Log", run: () => showLog(name) },
    ];
    await (await api.window.showQuickPick(items))?.run();
  };

  read();
  return api.Disposable.from(
    api.workspace.onDidOpenTextDocument(update),
    api.workspace.onDidCloseTextDocument(update),
    api.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(setting)) read();
    }),
    api.commands.registerCommand("dormouse.restartLanguageServer", restart),
    api.commands.registerCommand("dormouse.showLanguageServerLog", showLog),
    api.commands.registerCommand("dormouse.languageServerOptions", showOptions),
    new api.Disposable(() => {
      for (const keeper of keepers) keeper.dispose();
    }),
  );
}

function keep({ api, channel, folder }: LanguageOptions, description: ServerDescription): Keeper {
  const { name, title, languages } = description;
  // Settings of the editor itself are JSON, too, and what is not saved yet is a file all the same.
  const schemes = name === "json" ? ["file", "untitled", "vscode-userdata"] : ["file", "untitled"];
  const selector = languages.flatMap((language) => schemes.map((scheme) => ({ language, scheme })));
  const status = api.languages.createLanguageStatusItem(createId("status"), selector);
  const log = api.window.createOutputChannel(`${title} Language Server`, { log: true });
  let client: LanguageClient | undefined;
  /** One thing after the other: it is started, ended, started. */
  let last: Promise<void> = Promise.resolve();
  let isWanted = false;
  let idle: ReturnType<typeof setTimeout> | undefined;

  status.name = `${title} Language Server`;
  status.command = { command: "dormouse.languageServerOptions", title: "Options", arguments: [name] };
  const show = (state: ClientState | { kind: "idle" }) => {
    const details = { idle: "is not running", starting: "is starting", restarting: "has ended and is started again" };
    status.busy = state.kind === "starting" || state.kind === "restarting";
    status.severity =
      state.kind === "failed" ? api.LanguageStatusSeverity.Error : api.LanguageStatusSeverity.Information;
    status.text = state.kind === "running" ? state.title : title;
    if (state.kind === "running") status.detail = "language server";
    else if (state.kind === "failed") status.detail = `language server: ${state.reason}`;
    else status.detail = `language server ${details[state.kind]}`;
  };
  const onState = (state: ClientState) => {
    show(state);
    if (state.kind === "failed") void tell(state.reason);
  };
  const tell = async (reason: string) => {
    const told = `The ${title} language server does not run: ${reason}`;
    const chosen = await api.window.showErrorMessage(told, "Restart", "Show Log");
    if (chosen === "Restart") await keeper.restart();
    if (chosen === "Show Log") log.show();
  };

  const start = async () => {
    if (client || !isWanted) return;
    const { createClient } = await import("./client.ts");
    client = createClient({ api, channel, folder, description, selector, log, onState });
    await client.start();
  };
  const stop = async () => {
    const ended = client;
    client = undefined;
    await ended?.stop();
    show({ kind: "idle" });
  };
  const then = (work: () => Promise<void>) => {
    last = last.then(work).catch((error: unknown) => console.warn(`${title} language server`, error));
    return last;
  };

  show({ kind: "idle" });
  const keeper: Keeper = {
    description,
    log,
    update() {
      const isOpen = api.workspace.textDocuments.some((document) => api.languages.match(selector, document) > 0);
      if (isOpen) {
        clearTimeout(idle);
        idle = undefined;
        if (isWanted) return;
        isWanted = true;
        void then(start);
      } else if (isWanted) {
        idle ??= setTimeout(() => {
          idle = undefined;
          isWanted = false;
          void then(stop);
        }, idleMs);
      }
    },
    restart: async () => {
      await then(stop);
      await then(start);
    },
    dispose() {
      clearTimeout(idle);
      isWanted = false;
      void then(stop).then(() => log.dispose());
      status.dispose();
    },
  };
  return keeper;
}
