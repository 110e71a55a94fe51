import { INotificationService, IQuickInputService, StandaloneServices } from "@codingame/monaco-vscode-api";
import type { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import { localize2 } from "@codingame/monaco-vscode-api/vscode/vs/nls";
import {
  Action2,
  MenuId,
  registerAction2,
} from "@codingame/monaco-vscode-api/vscode/vs/platform/actions/common/actions";
import { ContextKeyExpr } from "@codingame/monaco-vscode-api/vscode/vs/platform/contextkey/common/contextkey";
import { IFileDialogService } from "@codingame/monaco-vscode-api/vscode/vs/platform/dialogs/common/dialogs.service";
import { IFileService } from "@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files.service";
import { IWorkbenchExtensionManagementService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/extensionManagement/common/extensionManagement.service";
import { DormouseError } from "@dormouse/base";
import type { AccountExtensions } from "./account.ts";
import { locationOf } from "./scanner.ts";

/** A file of this computer, or of the workspace. */
interface Package {
  name: string;
  read(): Promise<Blob>;
}

/**
 * "Install from VSIX…" in the palette and the Extensions view, and "Install Extension VSIX" on such files in the explorer.
 * The editor's own commands of these names unpack in Node.js.
 */
export function registerInstallFile(account: AccountExtensions): void {
  const category = localize2("dormouse.extensions", "Extensions");
  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: "dormouse.installFromVsix",
          title: localize2("dormouse.installFromVsix", "Install from VSIX..."),
          category,
          f1: true,
          menu: {
            id: MenuId.ViewContainerTitle,
            when: ContextKeyExpr.equals("viewContainer", "workbench.view.extensions"),
            group: "3_install",
            order: 1,
          },
        });
      }

      override async run(): Promise<void> {
        for (const file of await choose()) await install(account, file);
      }
    },
  );
  registerAction2(
    class extends Action2 {
      constructor() {
        super({
          id: "dormouse.installVsixFile",
          title: localize2("dormouse.installVsixFile", "Install Extension VSIX"),
          menu: {
            id: MenuId.ExplorerContext,
            group: "extensions",
            when: ContextKeyExpr.equals("resourceExtname", ".vsix"),
          },
        });
      }

      override async run(_accessor: unknown, resource: URI): Promise<void> {
        await install(account, ofWorkspace(resource));
      }
    },
  );
}

async function choose(): Promise<Package[]> {
  const thisComputer = { label: "$(device-desktop) From This Computer..." };
  const workspace = { label: "$(folder) From the Workspace..." };
  const options = { title: "Install from VSIX" };
  const chosen = await StandaloneServices.get(IQuickInputService).pick([thisComputer, workspace], options);
  if (chosen === thisComputer) return chooseHere();
  if (chosen !== workspace) return [];
  const found = await StandaloneServices.get(IFileDialogService).showOpenDialog({
    title: options.title,
    filters: [{ name: "VSIX Extensions", extensions: ["vsix"] }],
    canSelectFiles: true,
    canSelectMany: true,
    openLabel: "Install",
  });
  return (found ?? []).map(ofWorkspace);
}

function chooseHere(): Promise<Package[]> {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = ".vsix";
  input.multiple = true;
  return new Promise((resolve) => {
    const files = () => [...(input.files ?? [])].map((file) => ({ name: file.name, read: async () => file }));
    input.addEventListener("change", () => resolve(files()));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

function ofWorkspace(resource: URI): Package {
  return {
    name: resource.path.split("/").at(-1) ?? resource.path,
    async read() {
      const { value } = await StandaloneServices.get(IFileService).readFile(resource);
      return new Blob([value.buffer as Uint8Array<ArrayBuffer>]);
    },
  };
}

async function install(account: AccountExtensions, file: Package): Promise<void> {
  const notifications = StandaloneServices.get(INotificationService);
  try {
    const extension = await account.installFile(await file.read());
    await StandaloneServices.get(IWorkbenchExtensionManagementService)
      .installFromLocation(locationOf(extension))
      .catch(async (caught: unknown) => {
        await account.remove(extension);
        throw caught;
      });
    const { displayName } = extension.manifest;
    const name = typeof displayName === "string" && !displayName.startsWith("%") ? displayName : extension.identifier;
    notifications.info(`${name} ${extension.version} is installed.`);
  } catch (caught) {
    notifications.error(`${file.name} was not installed: ${DormouseError.from(caught).message}`);
  }
}
