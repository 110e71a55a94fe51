import "vscode/localExtensionHost";
import { INotificationService, initialize, StandaloneServices } from "@codingame/monaco-vscode-api";
import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import { IExplorerService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/contrib/files/browser/files.service";
import { IWorkbenchLayoutService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/layout/browser/layoutService.service";
import { LifecyclePhase } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/lifecycle/common/lifecycle";
import { ILifecycleService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/lifecycle/common/lifecycle.service";
import { initUserConfiguration } from "@codingame/monaco-vscode-configuration-service-override";
import { createIndexedDBProviders, registerCustomProvider } from "@codingame/monaco-vscode-files-service-override";
import { initUserKeybindings } from "@codingame/monaco-vscode-keybindings-service-override";
import type { UserSettings, Workspace } from "@dormouse/contract";
import type { Channel } from "../channel/channel.ts";
import { fileTransfer } from "../file-transfer.ts";
import { RememberedFiles } from "../remembered-files.ts";
import { rememberedStore } from "../remembered-store.ts";
import { configurationDefaults, definedDefaults } from "./defaults.ts";
import type { AccountExtensions } from "./extensions/account.ts";
import { confineExtensions } from "./extensions/confinement.ts";
import { registerInstallFile } from "./extensions/install-file.ts";
import { extensionServices, galleryConfiguration } from "./extensions/services.ts";
import { GuestFileSystem } from "./file-system.ts";
import { keepOpenEditors } from "./keep-editors.ts";
import { workbenchServices } from "./services.ts";
import { GuestTerminals } from "./terminal/backend.ts";
import { layoutStore } from "./terminal/layout.ts";
import { registerWorkers } from "./workers.ts";
import "./built-in-extensions.ts";

/** See `registerDormouseExtension`. */
const ownExtension = "dormouse.workbench";

/** What the workbench is started with. */
export interface StartOptions {
  workspace: Workspace;
  channel: Channel;
  settings: UserSettings;
  extensions: AccountExtensions;
  /** Address of the agent's HTTP routes, without a slash at the end. */
  guestUrl: string;
}

/** The workbench on its page. */
export interface StartedWorkbench {
  files: GuestFileSystem;
  terminals: GuestTerminals;
  /** Resolves when editors and views of the last visit are back and keys do what they should. */
  restored: Promise<void>;
}

/** Builds the workbench into the page. Called once. */
export async function startWorkbench(options: StartOptions): Promise<StartedWorkbench> {
  const { workspace, channel } = options;
  registerWorkers();
  confineExtensions();
  const leaving = watchLeaving();
  const remembered = await RememberedFiles.open(rememberedStore(workspace.id));
  window.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") void remembered.flush();
  });
  const files = new GuestFileSystem(channel, fileTransfer(options.guestUrl), remembered);
  const terminals = new GuestTerminals({
    channel,
    workspaceId: workspace.id,
    folder: workspace.folder,
    layouts: layoutStore(workspace.id, localStorage),
    isLeaving: leaving,
    report: (problem) => StandaloneServices.get(INotificationService).warn(problem),
  });

  registerCustomProvider("file", files);
  await createIndexedDBProviders();
  await Promise.all([
    initUserConfiguration(options.settings.settings || "{}\n", { overwrite: true }),
    initUserKeybindings(options.settings.keybindings || "[]\n", { overwrite: true }),
  ]);

  const container = document.createElement("div");
  container.id = "workbench";
  document.body.append(container);
  await initialize(
    { ...workbenchServices(terminals), ...extensionServices(options.extensions) },
    container,
    {
      enableWorkspaceTrust: false,
      // The page's own, which nobody is to take away from themselves.
      enabledExtensions: [ownExtension],
      workspaceProvider: {
        trusted: true,
        // Identified by the workspace, so that two workspaces with equal folders keep apart what they remember.
        workspace: { folderUri: URI.file(workspace.folder), id: workspace.id },
        open: async () => {
          location.href = "/";
          return true;
        },
      },
      configurationDefaults: {
        ...configurationDefaults,
        ...definedDefaults(workspace.devcontainer?.vscode.settings ?? {}),
        "window.title": `\${dirty}\${activeEditorShort}\${separator}${workspace.name}`,
      },
      productConfiguration: {
        ...{ nameShort: "Dormouse", nameLong: "Dormouse", applicationName: "dormouse" },
        extensionsGallery: galleryConfiguration(options.extensions),
        // Its debuggers would make it count as one that only another machine can run.
        extensionKind: { [ownExtension]: ["web"] },
      },
    },
    { userHome: URI.file("/home/dev") },
  );
  // The editor's command for it would show the explorer too, in place of the view that is open.
  files.onDidMissChanges(() => void StandaloneServices.get(IExplorerService).refresh());
  keepOpenEditors();
  registerInstallFile(options.extensions);
  return { files, terminals, restored: whenRestored() };
}

/** The phase alone comes after two seconds at the latest: a view opened then gives way to the one of the last visit. */
async function whenRestored(): Promise<void> {
  await Promise.all([
    StandaloneServices.get(ILifecycleService).when(LifecyclePhase.Restored),
    StandaloneServices.get(IWorkbenchLayoutService).whenRestored,
  ]);
}

/** Tells whether the page is being left, which the editor itself only tells some of its parts. */
function watchLeaving(): () => boolean {
  let isLeaving = false;
  window.addEventListener("pagehide", () => {
    isLeaving = true;
  });
  // The editor's own handler may ask the user to stay; then the page becomes visible again at once.
  window.addEventListener("beforeunload", () => {
    isLeaving = true;
    setTimeout(() => {
      isLeaving = false;
    });
  });
  window.addEventListener("pageshow", () => {
    isLeaving = false;
  });
  return () => isLeaving;
}
