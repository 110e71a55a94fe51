import type { EditorExtensions, UserSettings, Workspace } from "@dormouse/contract";
import type { PageAddress } from "./address.ts";
import type { Api } from "./api.ts";
import { openChannel } from "./channel/channel.ts";
import { registerDebug } from "./debug/debug.ts";
import { registerDevcontainer } from "./features/devcontainer.ts";
import { registerEgress } from "./features/egress.ts";
import { registerImagePreview } from "./features/image-preview.ts";
import { registerPorts } from "./features/ports/ports.ts";
import { registerRecommendedExtensions } from "./features/recommended-extensions.ts";
import { registerSearch } from "./features/search/search.ts";
import { registerTimeline } from "./features/timeline.ts";
import { registerWorkspaceStatus } from "./features/workspace-status.ts";
import { registerLanguages } from "./languages/languages.ts";
import { describeTrace, markStep, readTrace } from "./page/trace.ts";
import { toEditorPath } from "./paths.ts";
import { registerSourceControl } from "./source-control/source-control.ts";
import { debugModel } from "./vscode/debug-model.ts";
import { registerDormouseExtension } from "./vscode/extension.ts";
import { accountExtensions } from "./vscode/extensions/account.ts";
import { registerQuickDiffGutter } from "./vscode/quick-diff-gutter.ts";
import { startWorkbench } from "./vscode/start.ts";
import { waitForRestoredTerminals } from "./vscode/terminal/focus-command.ts";
import { showTerminal } from "./vscode/terminal/show-terminal.ts";
import { syncUserSettings } from "./vscode/user-settings.ts";
import { workspaceLink } from "./workspace-link.ts";

/** What {@link openWorkbench} opens. */
export interface OpenOptions {
  api: Api;
  /** A workspace that runs, or did and will again. */
  workspace: Workspace;
  /** Resolves once it runs. */
  running: Promise<Workspace>;
  settings: UserSettings;
  extensions: EditorExtensions;
  file: PageAddress["file"];
  /** Called when the workbench can be seen, a little before everything in it works. */
  onVisible: () => void;
}

/** Builds the workbench for a workspace into the page; resolves when it can be used. */
export async function openWorkbench(options: OpenOptions): Promise<void> {
  const { api: rest, workspace } = options;
  const guestUrl = `/api/workspaces/${workspace.id}/guest`;
  const link = workspaceLink(rest, workspace, options.running);
  const channel = openChannel({
    url: new URL(`${guestUrl}/channel`, location.origin.replace(/^http/, "ws")).href,
    opens: options.running,
    beforeRetry: link.beforeRetry,
  });
  void channel.whenConnected(new AbortController().signal).then(
    () => markStep("machine connected"),
    // The page tells why not.
    () => {},
  );
  const account = accountExtensions(rest, options.extensions);
  const { files, terminals, restored } = await startWorkbench({
    workspace,
    channel,
    settings: options.settings,
    extensions: account,
    guestUrl,
  });
  void restored.then(() => markStep("open files back"));
  waitForRestoredTerminals();
  markStep("editor built");
  options.onVisible();
  const api = await registerDormouseExtension();

  // The editor offers to set up an assistant that the product does not have.
  void api.commands.executeCommand("setContext", "chatSetupHidden", true);
  registerSearch({ api, channel, onDidChangeNames: (listener) => files.onDidChangeNames(listener) });
  registerImagePreview(api);
  registerWorkspaceStatus({ api, rest, workspace, channel, link });
  registerTimeline({ api, rest, workspace });
  registerEgress({ api, rest, workspace, channel });
  registerPorts({ api, rest, channel, workspace });
  registerDevcontainer({ api, rest, workspace, isBusy: options.file !== undefined });
  registerRecommendedExtensions({ api, workspace, account, answers: localStorage });
  registerDebug({
    api,
    channel,
    folder: toEditorPath(workspace.folder),
    model: debugModel(),
    showTerminal: (ptyId) => showTerminal(terminals, ptyId),
  });
  syncUserSettings(options.settings, (settings) => rest.me.saveSettings(settings));
  const gutter = registerQuickDiffGutter();
  api.commands.registerCommand("dormouse.nextChange", () => gutter.goToChange("next"));
  api.commands.registerCommand("dormouse.previousChange", () => gutter.goToChange("previous"));
  api.commands.registerCommand("dormouse.revertChange", () => gutter.revertChange());
  api.commands.registerCommand("dormouse.showOpening", async () => {
    const document = { language: "markdown", content: describeTrace(readTrace()) };
    await api.window.showTextDocument(await api.workspace.openTextDocument(document));
  });
  if (options.file) {
    const { path, line, column } = options.file;
    const at = new api.Position(line - 1, column - 1);
    void api.window.showTextDocument(api.Uri.file(toEditorPath(path)), { selection: new api.Range(at, at) });
  }
  // The page can be used without it, and the first status of a large repository takes its time.
  void registerSourceControl({
    api,
    channel,
    folder: toEditorPath(workspace.folder),
    onDidChangeFiles: (listener) =>
      files.onDidChangeFile((changes) => listener(changes.map(({ resource }) => resource.path))),
    onDidMissChanges: (listener) => files.onDidMissChanges(listener),
  });
  registerLanguages({ api, channel, folder: toEditorPath(workspace.folder) });
  await restored;
}
