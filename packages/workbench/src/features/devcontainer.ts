import { DormouseError } from "@dormouse/base";
import type { Workspace } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Api as RestApi } from "../api.ts";
import { toEditorPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";

/** What the definition is shown with. */
export interface DevcontainerOptions {
  api: Api;
  rest: RestApi;
  workspace: Workspace;
  /** Something else is being opened: what is wrong with the definition is told, and no file of it is shown. */
  isBusy: boolean;
}

/**
 * Commands to apply the repository's `devcontainer.json` again and to read what that wrote. What could not be applied is
 * told when the page opens, with the file open at the place. The page is a tool that attaches: `postAttachCommand` is run.
 */
export function registerDevcontainer({ api, rest, workspace, isBusy }: DevcontainerOptions): vscode.Disposable {
  const { name, devcontainer } = workspace;
  const reference = { workspace: workspace.id };
  const diagnostics = api.languages.createDiagnosticCollection("devcontainer");

  let shownLog = "";
  const logs = api.workspace.registerTextDocumentContentProvider(logScheme, {
    provideTextDocumentContent: () => shownLog,
  });

  const guarded = (id: string, what: string, work: () => Promise<unknown>) =>
    api.commands.registerCommand(id, async () => {
      try {
        await work();
      } catch (caught) {
        void api.window.showErrorMessage(`${what}: ${DormouseError.from(caught).message}`);
      }
    });

  const rebuild = async () => {
    const button = "Rebuild";
    const question = `Make the machine of ${name} anew, as its devcontainer.json says?`;
    const detail = "The repository's folder is carried over as it is. Nothing else is; the timeline still has it.";
    if ((await api.window.showWarningMessage(question, { modal: true, detail }, button)) !== button) return;
    await api.workspace.saveAll();
    await rest.workspaces.rebuild({ ...reference, wait: false });
    // The page shows how far it is, and opens again.
    location.reload();
  };

  const showLog = async () => {
    const { setup } = await rest.workspaces.logs(reference);
    if (!setup) return void api.window.showInformationMessage(`Nothing was set up for ${name} beyond its template.`);
    shownLog = setup;
    const uri = api.Uri.from({ scheme: logScheme, path: `/set-up of ${name}.log`, query: String(Date.now()) });
    await api.window.showTextDocument(await api.workspace.openTextDocument(uri), { preview: true });
  };

  const tellProblem = async ({ message, file, line, column }: Problem) => {
    const where = file === null ? undefined : api.Uri.file(toEditorPath(`${workspace.folder}/${file}`));
    const at = new api.Position((line ?? 1) - 1, (column ?? 1) - 1);
    if (where) {
      const diagnostic = new api.Diagnostic(new api.Range(at, at.translate(0, 1)), message);
      diagnostic.source = "devcontainer";
      diagnostics.set(where, [diagnostic]);
      if (!isBusy) {
        // It may have been deleted since.
        await Promise.resolve(api.window.showTextDocument(where, { selection: new api.Range(at, at) })).catch(() => {});
      }
    }
    const told = `devcontainer.json was not applied in all: ${message}`;
    const chosen = await api.window.showWarningMessage(told, "Rebuild", "Show Log");
    if (chosen === "Rebuild") await api.commands.executeCommand("dormouse.rebuild");
    if (chosen === "Show Log") await api.commands.executeCommand("dormouse.showSetUpLog");
  };

  /** Has run what the definition has for each tool, which this page is one of; what goes wrong with it is told. */
  const attach = async (signal: AbortSignal) => {
    const { runs } = await rest.workspaces.attach(reference, { signal });
    if (!runs) return;
    for await (const event of await rest.workspaces.events(reference, { signal })) {
      const attached = event.type === "state" ? event.workspace.devcontainer?.attached : undefined;
      if (!attached || attached.at === devcontainer?.attached?.at) continue;
      if (!attached.problem) return;
      const told = await api.window.showWarningMessage(attached.problem.message, "Show Log");
      if (told === "Show Log") await api.commands.executeCommand("dormouse.showSetUpLog");
      return;
    }
  };

  if (devcontainer?.problem) void tellProblem(devcontainer.problem);
  const leaving = new AbortController();
  // The page can be used without it: what broke off is in the log, and runs again with the next page.
  attach(leaving.signal).catch((error: unknown) =>
    console.info("postAttachCommand was not followed to its end", error),
  );
  return api.Disposable.from(
    new api.Disposable(() => leaving.abort()),
    diagnostics,
    logs,
    guarded("dormouse.rebuild", "Rebuild", rebuild),
    guarded("dormouse.showSetUpLog", "Show Set-Up Log", showLog),
  );
}

const logScheme = "dormouse-log";

type Problem = NonNullable<NonNullable<Workspace["devcontainer"]>["problem"]>;
