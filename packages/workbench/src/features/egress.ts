import { DormouseError } from "@dormouse/base";
import { type EgressRefusal, placeOfRefusal, type Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api as RestApi } from "../api.ts";
import type { Channel } from "../channel/channel.ts";
import { follow } from "../channel/follow.ts";
import type { Api } from "../vscode/extension.ts";

/** What egress is shown with. */
export interface EgressOptions {
  api: Api;
  rest: RestApi;
  workspace: Workspace;
  channel: Channel;
}

/** An install that tries a hundred mirrors is one thing to tell, not a hundred. */
const mostQuestions = 3;

/**
 * Asks about what was refused to leave the workspace, and about what its repository asks for; what is allowed holds at once.
 * That everything may leave stands in the status bar.
 */
export function registerEgress(options: EgressOptions): vscode.Disposable {
  const { api, rest, workspace, channel } = options;
  const reference = { workspace: workspace.id };
  const asked = new Set<string>();
  let open = 0;
  const item = api.window.createStatusBarItem("dormouse.egress", api.StatusBarAlignment.Left, 1);
  item.name = "Egress";
  item.command = "dormouse.showEgress";

  const showMode = (mode: "open" | "restricted") => {
    item.text = "$(warning) egress open";
    item.tooltip = "Programs of this workspace may connect to anything that no rule denies.";
    item.backgroundColor = new api.ThemeColor("statusBarItem.errorBackground");
    if (mode === "open") item.show();
    else item.hide();
  };

  const allow = async (rules: string[]) => {
    const { policy } = await rest.egress.allow({ ...reference, rules });
    showMode(policy.mode);
    const what = rules.join(", ");
    void api.window.showInformationMessage(`${workspace.name} may reach ${what} now. What failed can be tried again.`);
  };

  const ask = async (refusal: EgressRefusal) => {
    const { rule } = refusal;
    if (rule === null || asked.has(rule) || open >= mostQuestions) return;
    asked.add(rule);
    open++;
    try {
      const told = `A program tried to reach ${placeOfRefusal(refusal)}, and was refused: ${refusal.reason}.`;
      const chosen = await api.window.showWarningMessage(told, "Allow", "Show All");
      if (chosen === "Allow") await allow([rule]);
      if (chosen === "Show All") await api.commands.executeCommand("dormouse.showEgress");
    } finally {
      open--;
    }
  };

  /** What the repository's definition asks for is told once for each page, and allowed by a person or not at all. */
  const look = async () => {
    const { policy, proposed } = await rest.egress.show(reference);
    showMode(policy.mode);
    if (proposed.length === 0) return;
    for (const rule of proposed) asked.add(rule);
    const told = `The repository's devcontainer.json asks to reach ${proposed.join(", ")}.`;
    if ((await api.window.showInformationMessage(told, "Allow", "Not Now")) === "Allow") await allow(proposed);
  };

  const showAll = async () => {
    const { refusals } = await rest.egress.log(reference);
    if (refusals.length === 0) {
      void api.window.showInformationMessage(`Nothing was refused to ${workspace.name} lately.`);
      return;
    }
    const items = refusals.map((refusal) => ({
      label: placeOfRefusal(refusal),
      description: `${refusal.count} times, last at ${new Date(refusal.lastAt).toLocaleTimeString()}`,
      detail: refusal.rule === null ? `${refusal.reason}; no rule would allow it` : refusal.reason,
      rule: refusal.rule,
    }));
    const chosen = await api.window.showQuickPick(items, {
      title: `Refused to ${workspace.name}`,
      placeHolder: "Choose one to allow it",
    });
    if (chosen?.rule) await allow([chosen.rule]);
  };

  const told = (what: string, work: () => Promise<void>) =>
    work().catch((caught) => void api.window.showErrorMessage(`${what}: ${DormouseError.from(caught).message}`));
  const leaving = new AbortController();
  const { signal } = leaving;
  const watching = follow(channel, {
    open: (stop) => rest.workspaces.events(reference, { signal: stop }),
    onEvent: (event) => {
      if (event.type === "egress") void told("Egress", () => ask(event.refusal));
    },
    signal,
  });
  // The page can be used without either; what is refused is in the log all the same.
  const ended = (error: unknown) => console.info("what is refused is not told", error);
  watching.catch(ended);
  look().catch(ended);
  return api.Disposable.from(
    item,
    new api.Disposable(() => leaving.abort()),
    api.commands.registerCommand("dormouse.showEgress", () => told("Egress", showAll)),
  );
}
