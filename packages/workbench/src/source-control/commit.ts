import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { reasonOf } from "./report.ts";
import type { Repository } from "./repository.ts";

/** What to commit. */
export interface CommitOptions {
  amend?: boolean;
  /** Everything, staged or not. */
  all?: boolean;
}

/** Commits as VS Code does: asks what is missing, and resolves without a commit when the user steps back. */
export async function commit(
  api: Api,
  channel: Channel,
  repository: Repository,
  options: CommitOptions = {},
): Promise<void> {
  // What is being staged is committed too, however soon after.
  await repository.refreshSettled();
  if (!(await offerToSave(api, repository))) return;
  const { changes } = repository;
  if (changes.merge.length > 0) {
    const goOn = await confirm(
      api,
      "Some files still have conflicts. Stage them as they are and commit?",
      "Commit Anyway",
    );
    if (!goOn) return;
  }
  const unstaged = [...changes.merge, ...changes.workingTree, ...changes.untracked];
  const wantsAll = await decideOnAll(api, repository, options, unstaged.length);
  if (wantsAll === undefined) return;
  const message = await messageFor(api, channel, repository, options.amend ?? false);
  if (message === undefined) return;

  const cwd = repository.cwd;
  const toStage = wantsAll ? unstaged : changes.merge;
  if (toStage.length > 0) await channel.guest.git.stage({ cwd, paths: toStage.map(({ path }) => path) });
  const request = { cwd, message, amend: options.amend ?? false };
  try {
    await channel.guest.git.commit(request);
  } catch (caught) {
    if (reasonOf(caught) !== "identity_missing" || !(await askIdentity(api, channel, cwd))) throw caught;
    await channel.guest.git.commit(request);
  }
  repository.sourceControl.inputBox.value = "";
  await repository.refresh();
}

/** Whether to commit what is not staged; undefined when nothing is to be committed. */
async function decideOnAll(
  api: Api,
  repository: Repository,
  options: CommitOptions,
  unstagedCount: number,
): Promise<boolean | undefined> {
  if (options.all) return true;
  if (repository.changes.index.length > 0 || repository.changes.merge.length > 0) return false;
  if (unstagedCount === 0) {
    // A merge whose result equals one side, and a new message, are commits without changes.
    if (options.amend || repository.status?.operation === "merge") return false;
    void api.window.showInformationMessage("There are no changes to commit.");
    return undefined;
  }
  if (options.amend) return false;
  const configuration = api.workspace.getConfiguration("git");
  if (configuration.get("enableSmartCommit")) return true;
  if (!configuration.get("suggestSmartCommit")) {
    void api.window.showInformationMessage("There are no staged changes to commit.");
    return undefined;
  }
  const answer = await api.window.showWarningMessage(
    "There are no staged changes to commit.\n\nWould you like to stage all your changes and commit them directly?",
    { modal: true },
    "Yes",
    "Always",
    "Never",
  );
  if (answer === "Always") await configuration.update("enableSmartCommit", true, true);
  if (answer === "Never") await configuration.update("suggestSmartCommit", false, true);
  return answer === "Yes" || answer === "Always" ? true : undefined;
}

async function messageFor(
  api: Api,
  channel: Channel,
  repository: Repository,
  amend: boolean,
): Promise<string | undefined> {
  const typed = repository.sourceControl.inputBox.value;
  if (typed.trim() !== "") return typed;
  const [last] = amend ? (await channel.guest.git.log({ cwd: repository.cwd, limit: 1 })).commits : [];
  const previous = last && [last.subject, last.body].filter(Boolean).join("\n\n");
  const message = await api.window.showInputBox({
    placeHolder: "Commit message",
    prompt: `Please provide a commit message for "${repository.headName}"`,
    ignoreFocusOut: true,
    ...(previous ? { value: previous } : {}),
  });
  return message?.trim() ? message : undefined;
}

async function offerToSave(api: Api, repository: Repository): Promise<boolean> {
  const inRepository = (document: vscode.TextDocument) =>
    document.isDirty && document.uri.scheme === "file" && document.uri.path.startsWith(`${repository.root}/`);
  const unsaved = api.workspace.textDocuments.filter(inRepository);
  const [first] = unsaved;
  if (!first) return true;
  const what = unsaved.length === 1 ? `${first.uri.path.split("/").at(-1)} is` : `${unsaved.length} files are`;
  const answer = await api.window.showWarningMessage(
    `${what} not saved and will not be part of the commit as shown.`,
    { modal: true },
    "Save and Commit",
    "Commit Changes",
  );
  if (answer === "Save and Commit") {
    await Promise.all(unsaved.map((document) => document.save()));
    await repository.refresh();
  }
  return answer !== undefined;
}

/** Git wants to know who commits: asks for it and keeps it for the machine's user. */
async function askIdentity(api: Api, channel: Channel, cwd: string): Promise<boolean> {
  const ask = (prompt: string, placeHolder: string) =>
    api.window.showInputBox({ prompt, placeHolder, ignoreFocusOut: true });
  const name = await ask("Your name, as commits carry it", "Full Name");
  const email = name?.trim() && (await ask("Your e-mail address, as commits carry it", "name@example.org"));
  if (!name?.trim() || !email?.trim()) return false;
  for (const [key, value] of [
    ["user.name", name.trim()],
    ["user.email", email.trim()],
  ] as const) {
    await channel.guest.exec.run({ command: ["git", "config", "--global", key, value], cwd: toGuestPath(cwd) });
  }
  return true;
}

async function confirm(api: Api, question: string, button: string): Promise<boolean> {
  return (await api.window.showWarningMessage(question, { modal: true }, button)) === button;
}
