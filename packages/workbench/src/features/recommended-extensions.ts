import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api } from "../vscode/extension.ts";
import type { AccountExtensions } from "../vscode/extensions/account.ts";

/** What recommendations are shown with. */
export interface RecommendedOptions {
  api: Api;
  workspace: Workspace;
  account: AccountExtensions;
  /** Where what was answered is kept. */
  answers: Pick<Storage, "getItem" | "setItem">;
}

/** What a definition recommends and is not there, without what it takes away with a `-` in front. */
export function missingExtensions(recommended: readonly string[], installed: readonly string[]): string[] {
  const known = new Set(installed.map((identifier) => identifier.toLowerCase()));
  const unwanted = new Set(recommended.filter((one) => one.startsWith("-")).map((one) => one.slice(1).toLowerCase()));
  const wanted = recommended.filter((one) => /^[A-Za-z0-9][A-Za-z0-9-]*\.[A-Za-z0-9][A-Za-z0-9-]*$/.test(one));
  return [...new Map(wanted.map((one) => [one.toLowerCase(), one]))]
    .filter(([key]) => !known.has(key) && !unwanted.has(key))
    .map(([, one]) => one);
}

/**
 * Extensions that the repository's `devcontainer.json` recommends: offered once for each workspace and list, and installed
 * for the person who says so, since they are there in all of their workspaces then.
 */
export function registerRecommendedExtensions(options: RecommendedOptions): vscode.Disposable {
  const { api, workspace, account, answers } = options;
  const recommended = workspace.devcontainer?.vscode.extensions ?? [];
  const missing = () =>
    missingExtensions(
      recommended,
      account.installed.map(({ identifier }) => identifier),
    );
  const show = () =>
    api.commands.executeCommand(
      "workbench.extensions.search",
      missing()
        .map((id) => `@id:${id}`)
        .join(" "),
    );

  const install = async (identifiers: readonly string[]) => {
    const refused: string[] = [];
    for (const identifier of identifiers) {
      try {
        await api.commands.executeCommand("workbench.extensions.installExtension", identifier);
      } catch (caught) {
        refused.push(`${identifier}: ${DormouseError.from(caught).message}`);
      }
    }
    const done = identifiers.length - refused.length;
    if (done > 0) void api.window.showInformationMessage(`${done} of ${identifiers.length} extensions are installed.`);
    if (refused.length > 0) void api.window.showWarningMessage(`Not installed: ${refused.join("; ")}`);
  };

  const offer = async () => {
    const list = missing();
    const key = `dormouse.recommended.${workspace.id}`;
    if (!account.gallery || list.length === 0 || answers.getItem(key) === list.join()) return;
    const question = `The repository's devcontainer.json recommends ${list.join(", ")}.`;
    const chosen = await api.window.showInformationMessage(question, "Install", "Show", "Not Now");
    if (chosen !== undefined) answers.setItem(key, list.join());
    if (chosen === "Install") await install(list);
    if (chosen === "Show") await show();
  };

  const showAll = async () => {
    const list = missing();
    if (recommended.length === 0) {
      return void api.window.showInformationMessage(
        `Nothing is recommended for ${workspace.name} by its devcontainer.json.`,
      );
    }
    if (list.length === 0) return void api.window.showInformationMessage("All that is recommended is installed.");
    if (account.gallery) return void (await show());
    const title = "Recommended by devcontainer.json; this server has no gallery to install them from";
    const chosen = await api.window.showQuickPick(list, { title, placeHolder: "Choose one to copy its identifier" });
    if (chosen) await api.env.clipboard.writeText(chosen);
  };

  offer().catch((error: unknown) => console.info("recommended extensions were not offered", error));
  return api.commands.registerCommand("dormouse.showRecommendedExtensions", () =>
    showAll().catch((caught: unknown) => void api.window.showErrorMessage(DormouseError.from(caught).message)),
  );
}
