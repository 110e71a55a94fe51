import { URI } from "@codingame/monaco-vscode-api/vscode/vs/base/common/uri";
import type { IGalleryExtension } from "@codingame/monaco-vscode-api/vscode/vs/platform/extensionManagement/common/extensionManagement";
import type { IScannedExtension } from "@codingame/monaco-vscode-api/vscode/vs/workbench/services/extensionManagement/common/extensionManagement";
import { WebExtensionsScannerService } from "@codingame/monaco-vscode-extensions-service-override/vscode/vs/workbench/services/extensionManagement/browser/webExtensionsScannerService";
import type { EditorExtension } from "@dormouse/contract";
import type { AccountExtensions } from "./account.ts";

/** An extension as the editor writes it down. */
interface WebExtension {
  identifier: { id: string; uuid?: string | undefined };
  version: string;
  location: URI;
  manifest: Record<string, unknown>;
  readmeUri: URI;
  changelogUri: URI;
  defaultManifestTranslations: Record<string, unknown> | null;
  metadata: Record<string, unknown>;
}

/** What of the editor's own scanner is used or replaced here; its types hide most of it. */
interface Scanner {
  toScannedExtension(extension: WebExtension, isBuiltin: boolean): Promise<IScannedExtension>;
}

const EditorsScanner = WebExtensionsScannerService as unknown as new (...services: never[]) => Scanner;

/**
 * A scanner that knows the extensions which the server keeps for a person. The editor's own writes those it installed into
 * the browser's storage.
 */
export function accountScanner(account: AccountExtensions): new (...services: never[]) => Scanner {
  return class AccountScanner extends EditorsScanner {
    async readInstalledExtensions(): Promise<WebExtension[]> {
      return account.installed.map(toWebExtension);
    }

    async writeInstalledExtensions(_profile: URI, change: (before: WebExtension[]) => WebExtension[]): Promise<void> {
      const before = await this.readInstalledExtensions();
      const after = new Map(change(await this.readInstalledExtensions()).map((one) => [one.location.toString(), one]));
      for (const [index, extension] of [...account.installed].entries()) {
        const known = before[index];
        const changed = known && after.get(known.location.toString());
        if (!changed) await account.remove(extension);
        else if (JSON.stringify(changed.metadata) !== JSON.stringify(known.metadata)) {
          await account.saveMetadata(extension, changed.metadata);
        }
      }
    }

    async addExtensionFromGallery(gallery: IGalleryExtension, metadata: object): Promise<IScannedExtension> {
      const { identifier, version } = gallery;
      return this.#added(await account.installFromGallery(identifier.id, version, { ...metadata }));
    }

    /** Only what the server keeps can be added; that it is there says where it is. */
    async addExtension(location: URI, metadata: object): Promise<IScannedExtension> {
      const found = account.installed.find((extension) => locationOf(extension).toString() === location.toString());
      if (!found)
        throw new Error(`Extensions are installed from .vsix files or the gallery, not from ${location.toString()}`);
      await account.saveMetadata(found, { ...metadata });
      return this.#added(found);
    }

    #added(extension: EditorExtension): Promise<IScannedExtension> {
      return this.toScannedExtension(toWebExtension(extension), false);
    }
  };
}

/** Where the files of an extension are. */
export function locationOf({ url }: EditorExtension): URI {
  return URI.parse(new URL(url, location.origin).href);
}

function toWebExtension(extension: EditorExtension): WebExtension {
  const { identifier, version, manifest, translations, metadata } = extension;
  const at = locationOf(extension);
  return {
    identifier: { id: identifier },
    version,
    location: at,
    manifest: structuredClone(manifest),
    readmeUri: URI.joinPath(at, "README.md"),
    changelogUri: URI.joinPath(at, "CHANGELOG.md"),
    defaultManifestTranslations: translations,
    metadata: { ...metadata },
  };
}
