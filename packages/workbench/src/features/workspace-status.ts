import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api as RestApi } from "../api.ts";
import type { Channel } from "../channel/channel.ts";
import { toEditorPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import type { WorkspaceLink } from "../workspace-link.ts";

/** What the workspace's state is shown with. */
export interface WorkspaceStatusOptions {
  api: Api;
  rest: RestApi;
  workspace: Workspace;
  channel: Channel;
  link: WorkspaceLink;
}

/** A short loss, as of a service that restarts, needs no message. */
const quietMs = 2_500;
const leftmost = 100_000;

/** Shows in the status bar and in notifications how the page stands with its workspace, and what can be done. */
export function registerWorkspaceStatus(options: WorkspaceStatusOptions): vscode.Disposable {
  const { api, rest, workspace, channel, link } = options;
  const item = api.window.createStatusBarItem("dormouse.workspace", api.StatusBarAlignment.Left, leftmost);
  item.name = "Workspace";
  item.command = "dormouse.showWorkspace";
  item.show();
  let quiet: ReturnType<typeof setTimeout> | undefined;
  let settle: (() => void) | undefined;
  // What stood there when the page was opened is known, or of no concern to who opens it now.
  let told = workspace.reason ?? undefined;

  const endNotice = () => {
    clearTimeout(quiet);
    quiet = undefined;
    settle?.();
    settle = undefined;
  };
  const startNotice = () => {
    quiet ??= setTimeout(() => {
      const what = channel.state === "connecting" ? "Waking" : "Reconnecting to";
      const title = `${what} ${workspace.name}. What you type is kept.`;
      void api.window.withProgress({ location: api.ProgressLocation.Notification, title }, () => {
        const { promise, resolve } = Promise.withResolvers<void>();
        settle = resolve;
        return promise;
      });
    }, quietMs);
  };

  const showItem = (text: string, tooltip: string, color?: "warning" | "error") => {
    item.text = text;
    item.tooltip = tooltip;
    item.backgroundColor = color && new api.ThemeColor(`statusBarItem.${color}Background`);
  };
  const show = () => {
    const { state } = link;
    if (channel.state === "connected") {
      endNotice();
      if (state.kind === "live" && state.note !== undefined && state.note !== told) {
        told = state.note;
        void api.window.showWarningMessage(`${workspace.name}: ${told}. Unsaved text in the editor is as you left it.`);
      }
      showItem(`$(vm-running) ${workspace.name}`, describe(workspace));
      return;
    }
    switch (state.kind) {
      case "live":
      case "waiting": {
        startNotice();
        const what =
          state.kind === "waiting" ? state.message : channel.state === "connecting" ? "connecting" : "reconnecting";
        const tooltip = "The connection to the machine is being made again";
        showItem(`$(sync~spin) ${workspace.name}: ${what}`, tooltip, "warning");
        return;
      }
      case "asleep":
        endNotice();
        showItem(`$(vm-outline) ${workspace.name}: asleep`, "The workspace sleeps; type or click to wake it");
        return;
      default:
        endNotice();
        showItem(`$(error) ${workspace.name}: ${stateLabels[state.kind]}`, "The workspace cannot be reached", "error");
        void ask();
    }
  };

  const remove = async () => {
    const button = "Delete";
    const question = `Delete ${workspace.name} and everything in it?`;
    if ((await api.window.showWarningMessage(question, { modal: true }, button)) !== button) return;
    await rest.workspaces.delete({ workspace: workspace.id });
    location.assign("/");
  };
  const ask = async () => {
    const { state } = link;
    const messages: Partial<Record<typeof state.kind, string>> = {
      failed: state.kind === "failed" ? `${workspace.name} has failed: ${state.reason}` : "",
      deleted: `${workspace.name} was deleted. Copy what you need; nothing can be saved any more.`,
      signedOut: "You are signed out. Sign in again to go on; what you typed is kept.",
    };
    const buttons = { failed: ["Start Again", "Open List", "Delete"], deleted: ["Open List"], signedOut: ["Sign In"] };
    const kind = state.kind as keyof typeof buttons;
    const chosen = await api.window.showErrorMessage(messages[kind] ?? "", ...buttons[kind]);
    if (chosen === "Start Again") link.want();
    if (chosen === "Open List") location.assign("/");
    if (chosen === "Sign In") location.assign(`/signin?next=${encodeURIComponent(location.pathname)}`);
    if (chosen === "Delete") await remove();
  };

  const guarded = (id: string, what: string, work: () => unknown) =>
    api.commands.registerCommand(id, async () => {
      try {
        await work();
      } catch (caught) {
        void api.window.showErrorMessage(`${what}: ${DormouseError.from(caught).message}`);
      }
    });
  const nudge = () => channel.nudge();
  const wakeOnUse = () => {
    if (link.state.kind === "asleep") link.want();
  };
  const stopChannel = channel.onState(show);
  const stopLink = link.onState(show);
  window.addEventListener("online", nudge);
  for (const event of ["keydown", "pointerdown"] as const) window.addEventListener(event, wakeOnUse, true);
  show();

  return api.Disposable.from(
    item,
    guarded("dormouse.showWorkspace", "Show Workspace", async () => {
      const actions = [
        "Open List",
        "Show Timeline",
        "Take Snapshot",
        "Fork",
        "Rebuild",
        ...(workspace.devcontainer?.vscode.extensions.length ? ["Show Recommended Extensions"] : []),
        "Hibernate",
        "Copy Link to This File",
        "Delete",
      ];
      const { keptAwakeBy } = await rest.workspaces.get({ workspace: workspace.id });
      const awake = keptAwakeBy === null ? "" : ` — kept awake by ${keptAwakeBy}`;
      const title = `${workspace.name} — ${describe(workspace)}${awake}`;
      const chosen = await api.window.showQuickPick(actions, { title });
      if (chosen === "Open List") location.assign("/");
      if (chosen === "Show Timeline") await api.commands.executeCommand("dormouse.showTimeline");
      if (chosen === "Take Snapshot") await api.commands.executeCommand("dormouse.takeSnapshot");
      if (chosen === "Fork") await api.commands.executeCommand("dormouse.fork");
      if (chosen === "Rebuild") await api.commands.executeCommand("dormouse.rebuild");
      if (chosen === "Show Recommended Extensions") {
        await api.commands.executeCommand("dormouse.showRecommendedExtensions");
      }
      if (chosen === "Hibernate") await api.commands.executeCommand("dormouse.hibernate");
      if (chosen === "Copy Link to This File") await api.commands.executeCommand("dormouse.copyLink");
      if (chosen === "Delete") await remove();
    }),
    guarded("dormouse.openList", "Open List", () => location.assign("/")),
    guarded("dormouse.hibernate", "Hibernate", () => rest.workspaces.hibernate({ workspace: workspace.id })),
    guarded("dormouse.wake", "Wake", () => link.want()),
    guarded("dormouse.reconnect", "Reconnect", nudge),
    guarded("dormouse.copyLink", "Copy Link", async () => {
      const editor = api.window.activeTextEditor;
      const address = new URL(`/w/${workspace.name}`, location.origin);
      if (editor?.document.uri.scheme === "file") {
        const { line, character } = editor.selection.active;
        address.searchParams.set("file", `${toEditorPath(editor.document.uri.path)}:${line + 1}:${character + 1}`);
      }
      await api.env.clipboard.writeText(address.href);
    }),
    {
      dispose() {
        endNotice();
        stopChannel();
        stopLink();
        window.removeEventListener("online", nudge);
        for (const event of ["keydown", "pointerdown"] as const) window.removeEventListener(event, wakeOnUse, true);
      },
    },
  );
}

const stateLabels = { failed: "failed", deleted: "deleted", signedOut: "signed out" } as const;

/** The isolation level stands wherever the machine does, because emulation is no boundary between tenants. */
function describe(workspace: Workspace): string {
  const isolation = workspace.isolation === "emulation" ? "software emulation" : "hardware virtualisation";
  const { vcpus, memoryMib } = workspace.resources;
  return `${vcpus} vCPU, ${Math.round(memoryMib / 1024)} GiB, ${isolation}`;
}
