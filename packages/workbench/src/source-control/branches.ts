import { DormouseError } from "@dormouse/base";
import type { GitBranch } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import { reasonOf } from "./report.ts";
import type { Repository } from "./repository.ts";

interface BranchItem extends vscode.QuickPickItem {
  run?: () => Promise<void>;
}

/** Lets the user choose a branch to switch to, or make one. */
export async function pickBranch(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const items = async (): Promise<BranchItem[]> => {
    const { branches } = await channel.guest.git.branches({ cwd: repository.cwd });
    const row = (branch: GitBranch, icon: string): BranchItem => ({
      label: `$(${icon}) ${branch.name}`,
      description: `${branch.current ? "current, " : ""}${branch.head.slice(0, 8)} ${branch.subject}`,
      run: () => switchTo(api, channel, repository, branch),
    });
    const byAge = branches.filter(({ name }) => !name.endsWith("/HEAD")).sort((a, b) => b.committedMs - a.committedMs);
    return [
      { label: "$(plus) Create new branch...", alwaysShow: true, run: () => createBranch(api, channel, repository) },
      {
        label: "$(plus) Create new branch from...",
        alwaysShow: true,
        run: () => createBranch(api, channel, repository, { askStart: true }),
      },
      { label: "branches", kind: api.QuickPickItemKind.Separator },
      ...byAge.filter(({ remote }) => !remote).map((branch) => row(branch, "git-branch")),
      { label: "remote branches", kind: api.QuickPickItemKind.Separator },
      ...byAge.filter(({ remote }) => remote).map((branch) => row(branch, "cloud")),
    ];
  };
  const chosen = await api.window.showQuickPick(items(), {
    placeHolder: "Select a branch to checkout",
    matchOnDescription: true,
  });
  await chosen?.run?.();
}

/** Asks for a name, and with `askStart` for where to start, and switches to the new branch. */
export async function createBranch(
  api: Api,
  channel: Channel,
  repository: Repository,
  options: { askStart?: boolean } = {},
): Promise<void> {
  let startPoint: string | undefined;
  if (options.askStart) {
    const { branches } = await channel.guest.git.branches({ cwd: repository.cwd });
    startPoint = await api.window.showQuickPick(
      branches.map(({ name }) => name),
      { placeHolder: "Select a branch to create the new branch from" },
    );
    if (!startPoint) return;
  }
  const name = await api.window.showInputBox({
    placeHolder: "Branch name",
    prompt: "Please provide a new branch name",
    ignoreFocusOut: true,
    validateInput: (value) => (isBranchName(value) ? undefined : `"${value}" is not a valid branch name`),
  });
  if (!name) return;
  await checkout(api, channel, repository, { ref: name, create: true, ...(startPoint ? { startPoint } : {}) });
}

/** Lets the user choose a branch to delete; one that is not merged is asked about. */
export async function deleteBranch(api: Api, channel: Channel, repository: Repository): Promise<void> {
  const { branches } = await channel.guest.git.branches({ cwd: repository.cwd });
  const name = await api.window.showQuickPick(
    branches.filter(({ remote, current }) => !remote && !current).map((branch) => branch.name),
    { placeHolder: "Select a branch to delete" },
  );
  if (!name) return;
  try {
    await channel.guest.git.deleteBranch({ cwd: repository.cwd, name });
  } catch (caught) {
    const error = DormouseError.from(caught);
    if (!/not fully merged/i.test(error.message)) throw error;
    const button = "Delete Branch";
    const answer = await api.window.showWarningMessage(
      `The branch "${name}" is not fully merged. Delete anyway?`,
      { modal: true },
      button,
    );
    if (answer !== button) return;
    await channel.guest.git.deleteBranch({ cwd: repository.cwd, name, force: true });
  }
}

/** Git's own rules for names, see git-check-ref-format(1). */
export function isBranchName(name: string): boolean {
  return (
    name !== "" &&
    name !== "@" &&
    // biome-ignore lint/suspicious/noControlCharactersInRegex: git forbids them in names.
    !/[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|^[-/.]|\/$|\.$|\/\.|\.lock(\/|$)/.test(name)
  );
}

async function switchTo(api: Api, channel: Channel, repository: Repository, branch: GitBranch): Promise<void> {
  if (!branch.remote) return checkout(api, channel, repository, { ref: branch.name });
  const name = branch.name.slice(branch.name.indexOf("/") + 1);
  const { branches } = await channel.guest.git.branches({ cwd: repository.cwd });
  const hasLocal = branches.some((other) => !other.remote && other.name === name);
  const request = hasLocal ? { ref: name } : { ref: name, create: true, startPoint: branch.name };
  await checkout(api, channel, repository, request);
}

async function checkout(
  api: Api,
  channel: Channel,
  repository: Repository,
  request: { ref: string; create?: boolean; startPoint?: string },
): Promise<void> {
  const { cwd } = repository;
  try {
    await channel.guest.git.checkout({ cwd, ...request });
  } catch (caught) {
    if (reasonOf(caught) !== "dirty_worktree") throw caught;
    const button = "Stash & Checkout";
    const answer = await api.window.showWarningMessage(
      `Your local changes would be overwritten by checking out "${request.ref}".`,
      { modal: true },
      button,
    );
    if (answer !== button) return;
    await channel.guest.git.stash({ cwd, untracked: true });
    const [stash] = (await channel.guest.git.stashes({ cwd })).stashes;
    await channel.guest.git.checkout({ cwd, ...request });
    if (stash) await channel.guest.git.unstash({ cwd, hash: stash.hash });
  } finally {
    await repository.refresh();
  }
}
