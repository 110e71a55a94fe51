import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import type { Repository } from "./repository.ts";

/** Asks for a message, which may stay empty, and puts all changes away. */
export async function stash(
  api: Api,
  channel: Channel,
  repository: Repository,
  options: { untracked?: boolean } = {},
): Promise<void> {
  const prompt = "Optionally provide a stash message";
  const message = await api.window.showInputBox({ prompt, placeHolder: "Stash message", ignoreFocusOut: true });
  if (message === undefined) return;
  const named = message.trim() ? { message: message.trim() } : {};
  await channel.guest.git.stash({ cwd: repository.cwd, untracked: options.untracked ?? false, ...named });
  await repository.refresh();
}

/** Lets the user choose a stash, or takes the latest, and brings its changes back. */
export async function unstash(
  api: Api,
  channel: Channel,
  repository: Repository,
  options: { keep?: boolean; latest?: boolean } = {},
): Promise<void> {
  const hash = await chooseStash(api, channel, repository, "Pick a stash to bring back", options.latest);
  if (!hash) return;
  try {
    await channel.guest.git.unstash({ cwd: repository.cwd, hash, keep: options.keep ?? false });
  } finally {
    // With a conflict the changes are there as well.
    await repository.refresh();
  }
}

/** Lets the user choose a stash and forgets it, after asking. */
export async function dropStash(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const hash = await chooseStash(api, channel, repository, "Pick a stash to drop");
  if (!hash) return;
  const question = "Are you sure you want to drop this stash? Its changes are in no commit.";
  if ((await api.window.showWarningMessage(question, { modal: true }, "Drop Stash")) !== "Drop Stash") return;
  await channel.guest.git.dropStash({ cwd: repository.cwd, hash });
}

async function chooseStash(
  api: Api,
  channel: Channel,
  repository: Repository,
  placeHolder: string,
  latest = false,
): Promise<string | undefined> {
  const { stashes } = await channel.guest.git.stashes({ cwd: repository.cwd });
  if (stashes.length === 0) {
    void api.window.showInformationMessage("There are no stashes in the repository.");
    return undefined;
  }
  if (latest) return stashes[0]?.hash;
  const items = stashes.map(({ hash, message, createdMs }): vscode.QuickPickItem & { hash: string } => ({
    label: message,
    description: new Date(createdMs).toLocaleString(),
    hash,
  }));
  return (await api.window.showQuickPick(items, { placeHolder }))?.hash;
}
