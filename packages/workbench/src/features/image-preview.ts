import { formatBytes } from "@dormouse/base";
import type * as vscode from "vscode";
import { toBase64 } from "../bytes.ts";
import type { Api } from "../vscode/extension.ts";

/** Images travel into their frame as text; beyond this the browser would stall over it. */
const largestBytes = 24 * 1024 * 1024;

const mediaTypes: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  bmp: "image/bmp",
  ico: "image/x-icon",
};

/** Tells the editor which files open as images. SVG stays text, which it is. */
export const imagePreviewContributions = {
  customEditors: [
    {
      viewType: "dormouse.image",
      displayName: "Image",
      selector: [{ filenamePattern: `*.{${Object.keys(mediaTypes).join(",")}}` }],
      priority: "default",
    },
  ],
};

/** Shows images. The pinned version of VS Code's web build lacks the extension that does. */
export function registerImagePreview(api: Api): vscode.Disposable {
  const provider: vscode.CustomReadonlyEditorProvider = {
    openCustomDocument: (uri) => ({ uri, dispose() {} }),
    async resolveCustomEditor({ uri }, { webview, onDidDispose }) {
      const show = async () => {
        webview.html = pageFor(await contentOf(api, uri));
      };
      const folder = api.Uri.joinPath(uri, "..");
      const watcher = api.workspace.createFileSystemWatcher(
        new api.RelativePattern(folder, uri.path.slice(folder.path.length + 1)),
      );
      // An image that is gone keeps being shown; the tab says that its file was deleted.
      const showAgain = () => void show().catch(() => undefined);
      watcher.onDidChange(showAgain);
      watcher.onDidCreate(showAgain);
      onDidDispose(() => watcher.dispose());
      await show();
    },
  };
  return api.window.registerCustomEditorProvider("dormouse.image", provider);
}

async function contentOf(api: Api, uri: vscode.Uri): Promise<string> {
  const { size } = await api.workspace.fs.stat(uri);
  if (size > largestBytes) {
    return `<p>This image has ${formatBytes(size)}; images of up to ${formatBytes(largestBytes)} are shown.</p>`;
  }
  const type = mediaTypes[uri.path.split(".").at(-1)?.toLowerCase() ?? ""] ?? "application/octet-stream";
  return `<img alt="" src="data:${type};base64,${toBase64(await api.workspace.fs.readFile(uri))}">`;
}

function pageFor(content: string): string {
  return `<!doctype html>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
  html, body { height: 100%; margin: 0; padding: 0; }
  body { align-items: center; display: flex; justify-content: center; }
  p { color: var(--vscode-foreground); font-family: var(--vscode-font-family); }
  img {
    background: repeating-conic-gradient(#8883 0 25%, transparent 0 50%) 0 / 16px 16px;
    box-shadow: 0 0 0 1px #8884;
    max-height: 90%;
    max-width: 90%;
  }
</style>
<body>${content}</body>`;
}
