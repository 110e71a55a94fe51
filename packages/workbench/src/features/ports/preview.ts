import type * as vscode from "vscode";
import type { Api } from "../../vscode/extension.ts";

/** Shows an address in a tab of the editor; one tab for each. */
export interface Previews extends vscode.Disposable {
  show(url: string, title: string): void;
}

/** Makes {@link Previews}. What is shown lies in a frame of its own origin, and reaches nothing of the editor. */
export function createPreviews(api: Api): Previews {
  const panels = new Map<string, vscode.WebviewPanel>();
  return {
    show(url, title) {
      const known = panels.get(url);
      if (known) return known.reveal();
      const panel = api.window.createWebviewPanel("dormouse.preview", title, api.ViewColumn.Beside, {
        enableScripts: true,
        retainContextWhenHidden: true,
      });
      panels.set(url, panel);
      panel.onDidDispose(() => panels.delete(url));
      panel.webview.onDidReceiveMessage((message: unknown) => {
        if (message === "open") window.open(url, "_blank", "noopener");
      });
      panel.webview.html = pageFor(url, title);
    },
    dispose() {
      for (const panel of panels.values()) panel.dispose();
    },
  };
}

function pageFor(url: string, title: string): string {
  const { origin } = new URL(url);
  const nonce = crypto.randomUUID();
  // The first time the way to it leads by the platform, which knows who looks.
  const policy = `default-src 'none'; frame-src ${origin} ${location.origin}; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'`;
  const escaped = (text: string) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  return `<!doctype html>
<meta http-equiv="Content-Security-Policy" content="${policy}">
<style nonce="${nonce}">
  html, body { height: 100%; margin: 0; padding: 0; }
  body { display: flex; flex-direction: column; }
  header { align-items: center; border-bottom: 1px solid var(--vscode-panel-border); display: flex; gap: 8px; padding: 4px 8px; }
  button { background: transparent; border: 0; border-radius: 4px; color: var(--vscode-foreground); cursor: pointer; font: inherit; padding: 2px 8px; }
  button:hover, button:focus-visible { background: var(--vscode-toolbar-hoverBackground); }
  output { color: var(--vscode-descriptionForeground); flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  iframe { background: #fff; border: 0; flex: 1; width: 100%; }
</style>
<header>
  <button id="reload" title="Load it again">Reload</button>
  <output>${escaped(url)}</output>
  <button id="open" title="Open in a tab of the browser">Open in Browser</button>
</header>
<iframe title="${escaped(title)}" src="${escaped(url)}" allow="clipboard-read; clipboard-write"
  sandbox="allow-scripts allow-forms allow-same-origin allow-popups allow-modals allow-downloads"></iframe>
<script nonce="${nonce}">
  const api = acquireVsCodeApi();
  const frame = document.querySelector("iframe");
  document.getElementById("reload").addEventListener("click", () => { frame.src = frame.src; });
  document.getElementById("open").addEventListener("click", () => api.postMessage("open"));
</script>`;
}
