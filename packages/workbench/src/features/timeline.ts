import { DormouseError, formatBytes } from "@dormouse/base";
import type { Snapshot, Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api as RestApi } from "../api.ts";
import type { Api } from "../vscode/extension.ts";

/** What the timeline works with. */
export interface TimelineOptions {
  api: Api;
  rest: RestApi;
  workspace: Workspace;
}

const whys: Readonly<Record<Snapshot["reason"], string>> = {
  periodic: "by the minute",
  hibernate: "when it fell asleep",
  manual: "by hand",
  fork: "to fork from",
};

/** Commands to keep a moment of the workspace, to go back to one, and to fork. All of them are in the palette. */
export function registerTimeline({ api, rest, workspace }: TimelineOptions): vscode.Disposable {
  const { name } = workspace;
  const reference = { workspace: workspace.id };

  const shown = async <T>(title: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await api.window.withProgress({ location: api.ProgressLocation.Notification, title }, work);
    } catch (caught) {
      void api.window.showErrorMessage(`${title} did not work: ${DormouseError.from(caught).message}`);
      return undefined;
    }
  };

  const takeSnapshot = async () => {
    const label = await api.window.showInputBox({
      title: "Take Snapshot",
      prompt: "A name for this moment; what has one is kept until it is deleted. Empty: none.",
      validateInput: (text) => (text.length > 100 ? "A name has at most 100 characters." : undefined),
    });
    if (label === undefined) return;
    const made = await shown(`Taking a snapshot of ${name}`, () =>
      rest.snapshots.create({ ...reference, ...(label ? { name: label } : {}) }),
    );
    if (made)
      void api.window.showInformationMessage(
        `Snapshot taken: ${describe(made)}, ${formatBytes(made.storedBytes)} new.`,
      );
  };

  const fork = async (snapshot?: Snapshot) => {
    const answer = await shown(`Forking ${name}`, () => rest.workspaces.fork({ ...reference, snapshot: snapshot?.id }));
    for (const outcome of answer?.forks ?? []) {
      if ("error" in outcome) void api.window.showErrorMessage(`${name} was not forked: ${outcome.error.message}`);
      else await offer(outcome.workspace);
    }
  };
  const offer = async (made: Workspace) => {
    const button = "Open";
    const chosen = await api.window.showInformationMessage(`${made.name} goes on from ${name}.`, button);
    if (chosen === button) window.open(`/w/${made.name}`, "_blank", "noopener");
  };

  const goBack = async (snapshot: Snapshot) => {
    const button = "Go Back";
    const question = `Go back to ${name} as it was ${describe(snapshot)}?`;
    const detail = "Its files and processes become what they were. What they are now is kept as a snapshot first.";
    if ((await api.window.showWarningMessage(question, { modal: true, detail }, button)) !== button) return;
    await shown(`Going back to ${describe(snapshot)}`, () =>
      rest.workspaces.restore({ ...reference, snapshot: snapshot.id }),
    );
  };

  const showTimeline = async () => {
    const answer = await shown(`Reading the timeline of ${name}`, () => rest.snapshots.list(reference));
    if (!answer) return;
    const items = answer.snapshots.map((snapshot) => ({
      label: snapshot.name ?? new Date(snapshot.createdAt).toLocaleString(),
      description: [snapshot.name && new Date(snapshot.createdAt).toLocaleString(), whys[snapshot.reason]]
        .filter(Boolean)
        .join(", "),
      detail: facts(snapshot),
      snapshot,
    }));
    if (items.length === 0) {
      void api.window.showInformationMessage(`${name} has no snapshots yet; a running workspace is kept every minute.`);
      return;
    }
    const chosen = await api.window.showQuickPick(items, { title: `Timeline of ${name}`, matchOnDetail: true });
    if (!chosen) return;
    const actions = ["Go Back to This Moment", "Fork From This Moment"] as const;
    const action = await api.window.showQuickPick([...actions], { title: `${name}, ${describe(chosen.snapshot)}` });
    if (action === actions[0]) await goBack(chosen.snapshot);
    if (action === actions[1]) await fork(chosen.snapshot);
  };

  const { registerCommand } = api.commands;
  return api.Disposable.from(
    registerCommand("dormouse.takeSnapshot", takeSnapshot),
    registerCommand("dormouse.fork", () => fork()),
    registerCommand("dormouse.showTimeline", showTimeline),
  );
}

function describe({ name, createdAt }: Snapshot): string {
  const time = new Date(createdAt).toLocaleTimeString();
  return name === null ? time : `${name} (${time})`;
}

function facts({ git, processes, storedBytes }: Snapshot): string {
  const where = git && (git.branch ?? git.head?.slice(0, 9) ?? "no commit yet");
  const changed = git && (git.changedFiles === 0 ? "nothing changed" : `${git.changedFiles} changed`);
  return [
    git && `${where}, ${changed}`,
    processes !== null && `${processes} processes`,
    `${formatBytes(storedBytes)} new`,
  ]
    .filter(Boolean)
    .join(" · ");
}
