import { DormouseError } from "@dormouse/base";
import type { EditorExtension, EditorExtensions } from "@dormouse/contract";
import type { Api } from "../../api.ts";
import { ownFetch } from "../../page/own-requests.ts";

/** The extensions of who looks at the page, as the server keeps them. */
export interface AccountExtensions {
  /** Whether there is a gallery to install from. */
  readonly gallery: boolean;
  readonly installed: readonly EditorExtension[];
  /** @throws DormouseError with the reason why it cannot be installed. */
  installFile(content: Blob): Promise<EditorExtension>;
  installFromGallery(identifier: string, version: string, metadata: Record<string, unknown>): Promise<EditorExtension>;
  saveMetadata(extension: EditorExtension, metadata: Record<string, unknown>): Promise<void>;
  remove(extension: EditorExtension): Promise<void>;
}

/** The {@link AccountExtensions} behind the API; `initial` is what it said when the page opened. */
export function accountExtensions(api: Api, initial: EditorExtensions): AccountExtensions {
  let installed = initial.extensions;
  const same = (one: EditorExtension, other: EditorExtension) =>
    one.identifier.toLowerCase() === other.identifier.toLowerCase();
  const put = (extension: EditorExtension) => {
    installed = [...installed.filter((one) => !same(one, extension)), extension];
    return extension;
  };
  return {
    gallery: initial.gallery,
    get installed() {
      return installed;
    },
    async installFile(content) {
      const response = await ownFetch("/api/me/extensions", { method: "POST", body: content }).catch((caught) => {
        throw DormouseError.from(caught, "unavailable");
      });
      const body: unknown = await response.json().catch(() => undefined);
      if (response.ok) return put(body as EditorExtension);
      throw DormouseError.fromJSON(body) ?? new DormouseError("unknown", `the server answered ${response.status}`);
    },
    async installFromGallery(identifier, version, metadata) {
      return put(await api.me.installExtension({ identifier, version, metadata }));
    },
    async saveMetadata({ id }, metadata) {
      put(await api.me.saveExtension({ id, metadata }));
    },
    async remove(extension) {
      await api.me.removeExtension({ id: extension.id }).catch((caught: unknown) => {
        // Another page has done it.
        if (DormouseError.from(caught).code !== "not_found") throw caught;
      });
      installed = installed.filter((one) => !same(one, extension));
    },
  };
}
