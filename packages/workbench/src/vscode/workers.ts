/**
 * Vite finds a worker by the form `new Worker(new URL(…, import.meta.url))`. This
 * stand-in keeps the address it is built with; the editor starts the real worker
 * when it first needs it.
 */
class Worker {
  readonly url: string;
  readonly options: WorkerOptions | undefined;

  constructor(url: URL, options?: WorkerOptions) {
    this.url = url.toString();
    this.options = options;
  }
}

const workers: Readonly<Record<string, Worker>> = {
  editorWorkerService: new Worker(new URL("monaco-editor/esm/vs/editor/editor.worker.js", import.meta.url), {
    type: "module",
  }),
  extensionHostWorkerMain: new Worker(
    new URL("@codingame/monaco-vscode-api/workers/extensionHost.worker", import.meta.url),
    { type: "module" },
  ),
  TextMateWorker: new Worker(new URL("@codingame/monaco-vscode-textmate-service-override/worker", import.meta.url), {
    type: "module",
  }),
  OutputLinkDetectionWorker: new Worker(
    new URL("@codingame/monaco-vscode-output-service-override/worker", import.meta.url),
    { type: "module" },
  ),
  LanguageDetectionWorker: new Worker(
    new URL("@codingame/monaco-vscode-language-detection-worker-service-override/worker", import.meta.url),
    { type: "module" },
  ),
  LocalFileSearchWorker: new Worker(
    new URL("@codingame/monaco-vscode-search-service-override/worker", import.meta.url),
    { type: "module" },
  ),
};

/** Tells the editor where the code of its workers lies. */
export function registerWorkers(): void {
  window.MonacoEnvironment = {
    getWorkerUrl: (_moduleId: string, label: string) => workers[label]?.url,
    getWorkerOptions: (_moduleId: string, label: string) => workers[label]?.options,
  };
}
