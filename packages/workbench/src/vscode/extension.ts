import { ExtensionHostKind, registerExtension } from "@codingame/monaco-vscode-api/extensions";
import type * as vscode from "vscode";
import { debugContributions } from "../debug/contributions.ts";
import { workspaceContributions } from "../features/contributions.ts";
import { imagePreviewContributions } from "../features/image-preview.ts";
import { portsContributions } from "../features/ports/contributions.ts";
import { languageContributions } from "../languages/contributions.ts";
import { sourceControlContributions } from "../source-control/contributions.ts";

/** VS Code's extension API as the page's own features use it. */
export type Api = typeof vscode;

/**
 * The extension in whose name the page's own features speak to the editor. It runs in
 * the page itself and may use proposed interfaces.
 */
export async function registerDormouseExtension(): Promise<Api> {
  const contributions = [sourceControlContributions, workspaceContributions, portsContributions];
  const commands = [
    ...contributions.flatMap((one) => one.commands),
    ...debugContributions.commands,
    ...languageContributions.commands,
  ];
  const { getApi } = registerExtension(
    {
      name: "workbench",
      publisher: "dormouse",
      displayName: "Dormouse",
      version: "1.0.0",
      engines: { vscode: "*" },
      enabledApiProposals: [
        "textSearchProvider2",
        "fileSearchProvider2",
        "scmActionButton",
        "scmValidation",
        "timeline",
        "contribDiffEditorGutterToolBarMenus",
      ],
      contributes: {
        commands,
        debuggers: debugContributions.debuggers,
        breakpoints: debugContributions.breakpoints,
        keybindings: contributions.flatMap(({ keybindings }) => keybindings),
        colors: sourceControlContributions.colors,
        configuration: [sourceControlContributions.configuration, languageContributions.configuration].flat(),
        viewsContainers: portsContributions.viewsContainers,
        views: portsContributions.views,
        viewsWelcome: portsContributions.viewsWelcome,
        menus: {
          ...sourceControlContributions.menus,
          ...portsContributions.menus,
          ...debugContributions.menus,
          commandPalette: [
            ...sourceControlContributions.menus.commandPalette,
            ...debugContributions.menus.commandPalette,
            ...languageContributions.menus.commandPalette,
          ],
        },
        customEditors: imagePreviewContributions.customEditors,
      },
    },
    ExtensionHostKind.LocalProcess,
    { system: true },
  );
  return getApi();
}
