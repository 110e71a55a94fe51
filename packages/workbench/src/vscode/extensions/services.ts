import type { IEditorOverrideServices } from "@codingame/monaco-vscode-api";
import { SyncDescriptor } from "@codingame/monaco-vscode-api/vscode/vs/platform/instantiation/common/descriptors";
import { IWebExtensionsScannerService } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/extensionManagement/common/extensionManagement.service";
import gallery, { type IExtensionGalleryManifest } from "@codingame/monaco-vscode-extension-gallery-service-override";
import type { AccountExtensions } from "./account.ts";
import { accountScanner } from "./scanner.ts";

/** Searching, installing and showing extensions. To be put behind the editor's services for extensions. */
export function extensionServices(account: AccountExtensions): IEditorOverrideServices {
  return {
    ...gallery({ webOnly: true, transformExtensionGalleryManifest: (manifest) => manifest && searchOnly(manifest) }),
    [IWebExtensionsScannerService.toString()]: new SyncDescriptor(accountScanner(account) as never, [], true),
  };
}

/** Where the editor asks for extensions: at this server, which asks the gallery. */
export function galleryConfiguration({ gallery }: AccountExtensions) {
  const serviceUrl = gallery ? `${location.origin}/api/gallery` : "";
  return { serviceUrl, resourceUrlTemplate: "", extensionUrlTemplate: "", controlUrl: "", nlsBaseUrl: "" };
}

/**
 * Of what VS Code's own gallery offers the search is enough: nothing is counted, and there is one way to find a version.
 * Nor does another gallery sign its extensions with Microsoft's key, without which none could be installed.
 */
function searchOnly(manifest: IExtensionGalleryManifest): IExtensionGalleryManifest {
  const resources = manifest.resources.filter(({ type }) => type.startsWith("ExtensionQueryService"));
  const { signing: _, ...capabilities } = manifest.capabilities;
  return { ...manifest, resources, capabilities };
}
