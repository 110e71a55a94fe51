import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import { createBranch, deleteBranch, pickBranch } from "./branches.ts";
import { type Change, type GroupId, groupIds } from "./changes.ts";
import { commit } from "./commit.ts";
import { contentScheme } from "./content.ts";
import { type DiffHunk, revertSelection, stageHunk, stageSelection, unstageSelection } from "./partial-staging.ts";
import { checkoutPullRequest } from "./pull-request.ts";
import type { Remotes } from "./remotes.ts";
import type { GitReporter } from "./report.ts";
import type { ChangeRow, Repository } from "./repository.ts";
import { discard, stage, unstage } from "./staging.ts";
import { dropStash, stash, unstash } from "./stash.ts";

/** What the commands act on. */
export interface CommandContext {
  api: Api;
  channel: Channel;
  remotes: Remotes;
  reporter: GitReporter;
  repositories: () => readonly Repository[];
}

/** Registers every command of `contributions.ts` that belongs to a repository. */
export function registerCommands(context: CommandContext): vscode.Disposable {
  const { api, channel, remotes, reporter } = context;

  /** A command on one repository: the one it is called with, that of the active file, or one the user picks. */
  const onRepository = (id: string, what: string, work: (repository: Repository) => Promise<void>) =>
    api.commands.registerCommand(id, (argument?: unknown) =>
      reporter.attempt(what, async () => {
        const repository = await repositoryFor(context, argument);
        if (repository) await work(repository);
      }),
    );

  /** A command of the bar beside a change in a comparison. */
  const onHunk = (id: string) =>
    api.commands.registerCommand(id, (hunk: DiffHunk) =>
      reporter.attempt("Stage", async () => {
        const repository = repositoryOf(context.repositories(), hunk.modifiedUri);
        if (repository) await stageHunk(channel, repository, hunk);
      }),
    );

  /** A command on rows, each repository's together. */
  const onRows = (id: string, what: string, work: (repository: Repository, changes: Change[]) => Promise<void>) =>
    api.commands.registerCommand(id, (...rows: unknown[]) =>
      reporter.attempt(what, async () => {
        for (const [repository, changes] of Map.groupBy(rowsOf(rows), (row) => row.repository)) {
          await work(
            repository,
            changes.map(({ change }) => change),
          );
        }
      }),
    );

  const ofGroups = (repository: Repository, groups: readonly GroupId[]) =>
    groups.flatMap((group) => repository.changes[group]);
  const stageAll = (repository: Repository) =>
    stage(channel, repository, ofGroups(repository, ["merge", "workingTree", "untracked"]));

  return api.Disposable.from(
    onRepository("git.refresh", "Refresh", (repository) => repository.refresh()),
    onRepository("git.commit", "Commit", (repository) => commit(api, channel, repository)),
    onRepository("git.commitAmend", "Commit", (repository) => commit(api, channel, repository, { amend: true })),
    onRepository("git.commitAll", "Commit", (repository) => commit(api, channel, repository, { all: true })),
    onRepository("git.stageAll", "Stage", stageAll),
    onRepository("git.unstageAll", "Unstage", (repository) => unstage(channel, repository, repository.changes.index)),
    onRepository("git.discardAll", "Discard", (repository) =>
      discard(api, channel, repository, ofGroups(repository, ["workingTree", "untracked"])),
    ),
    onRepository("git.stageActive", "Stage", async (repository) => {
      const path = api.window.activeTextEditor?.document.uri.path;
      const rows = ofGroups(repository, ["merge", "workingTree", "untracked"]);
      await stage(
        channel,
        repository,
        rows.filter((change) => repository.uriOf(change.path).path === path),
      );
    }),
    onRepository("git.stageSelectedRanges", "Stage", (repository) => stageSelection(api, channel, repository)),
    onRepository("git.unstageSelectedRanges", "Unstage", (repository) => unstageSelection(api, channel, repository)),
    onRepository("git.revertSelectedRanges", "Revert", (repository) => revertSelection(api, channel, repository)),
    onHunk("git.diff.stageHunk"),
    onHunk("git.diff.stageSelection"),
    onRepository("git.stash", "Stash", (repository) => stash(api, channel, repository)),
    onRepository("git.stashIncludeUntracked", "Stash", (repository) =>
      stash(api, channel, repository, { untracked: true }),
    ),
    onRepository("git.stashPop", "Pop Stash", (repository) => unstash(api, channel, repository)),
    onRepository("git.stashPopLatest", "Pop Stash", (repository) =>
      unstash(api, channel, repository, { latest: true }),
    ),
    onRepository("git.stashApply", "Apply Stash", (repository) => unstash(api, channel, repository, { keep: true })),
    onRepository("git.stashDrop", "Drop Stash", (repository) => dropStash(api, channel, repository)),
    onRepository("git.checkoutPullRequest", "Checkout Pull Request", (repository) =>
      checkoutPullRequest(api, channel, remotes, repository),
    ),
    onRepository("git.openActiveChange", "Open Changes", async (repository) => {
      const path = api.window.activeTextEditor?.document.uri.path;
      const change = ofGroups(repository, [...groupIds].reverse()).find(
        (row) => repository.uriOf(row.path).path === path,
      );
      if (change) await openChange(api, repository, change);
      else void api.window.showInformationMessage("This file has no changes.");
    }),
    onRepository("git.checkout", "Checkout", (repository) => pickBranch(api, channel, repository)),
    onRepository("git.createBranch", "Create Branch", (repository) => createBranch(api, channel, repository)),
    onRepository("git.deleteBranch", "Delete Branch", (repository) => deleteBranch(api, channel, repository)),
    onRepository("git.fetch", "Fetch", (repository) => remotes.fetch(repository)),
    onRepository("git.pull", "Pull", (repository) => remotes.pull(repository)),
    onRepository("git.pullRebase", "Pull", (repository) => remotes.pull(repository, { rebase: true })),
    onRepository("git.push", "Push", (repository) => remotes.push(repository)),
    onRepository("git.pushForce", "Push", (repository) => remotes.push(repository, { force: true })),
    onRepository("git.publish", "Publish Branch", (repository) => remotes.publish(repository)),
    onRepository("git.sync", "Sync", (repository) => remotes.sync(repository)),
    onRows("git.stage", "Stage", (repository, changes) => stage(channel, repository, changes)),
    onRows("git.unstage", "Unstage", (repository, changes) => unstage(channel, repository, changes)),
    onRows("git.discard", "Discard", (repository, changes) => discard(api, channel, repository, changes)),
    onRows("git.stageGroup", "Stage", (repository, changes) => stage(channel, repository, changes)),
    onRows("git.unstageGroup", "Unstage", (repository, changes) => unstage(channel, repository, changes)),
    onRows("git.discardGroup", "Discard", (repository, changes) => discard(api, channel, repository, changes)),
    onRows("git.openChange", "Open Changes", async (repository, changes) => {
      for (const change of changes) await openChange(api, repository, change);
    }),
    onRows("git.openFile", "Open File", async (repository, changes) => {
      for (const { path } of changes) await api.commands.executeCommand("vscode.open", repository.uriOf(path));
    }),
    api.commands.registerCommand("git.showOutput", () => reporter.show()),
  );
}

async function repositoryFor(context: CommandContext, argument: unknown): Promise<Repository | undefined> {
  const { api } = context;
  const repositories = context.repositories();
  const named = repositories.find((repository) => {
    const { rootUri } = (argument ?? {}) as Partial<vscode.SourceControl>;
    return rootUri?.path === repository.root;
  });
  if (named) return named;
  if (repositories.length === 0) {
    void api.window.showInformationMessage("There is no Git repository in this workspace.");
    return undefined;
  }
  if (repositories.length === 1) return repositories[0];
  const active = api.window.activeTextEditor?.document.uri;
  const ofActive = active && repositoryOf(repositories, active);
  if (ofActive) return ofActive;
  const chosen = await api.window.showQuickPick(
    repositories.map((repository) => ({ label: repository.root, description: repository.headName, repository })),
    { placeHolder: "Choose a repository" },
  );
  return chosen?.repository;
}

/** The repository that a file, or what git has of one, belongs to: the innermost. */
export function repositoryOf(repositories: readonly Repository[], uri: vscode.Uri): Repository | undefined {
  if (uri.scheme !== "file" && uri.scheme !== contentScheme) return undefined;
  return repositories
    .filter(({ root }) => uri.path.startsWith(`${root}/`))
    .sort((one, other) => other.root.length - one.root.length)[0];
}

/** The rows a command was called with: several arguments, arrays of them, or a whole group. */
function rowsOf(argumentList: readonly unknown[]): ChangeRow[] {
  const rows = argumentList.flat().flatMap((argument) => {
    if (typeof argument !== "object" || argument === null) return [];
    if ("resourceStates" in argument)
      return (argument as vscode.SourceControlResourceGroup).resourceStates as ChangeRow[];
    return "change" in argument && "repository" in argument ? [argument as ChangeRow] : [];
  });
  return [...new Set(rows)];
}

async function openChange(api: Api, repository: Repository, change: Change): Promise<void> {
  const name = change.path.split("/").at(-1) ?? change.path;
  const file = repository.uriOf(change.path);
  const index = repository.contentOf(change.path, ":");
  const before = change.originalPath ?? change.path;
  if (change.group === "index") {
    const head = repository.contentOf(before, "HEAD");
    await api.commands.executeCommand("vscode.diff", head, index, `${name} (Index)`);
  } else if (change.kind === "modified" || change.kind === "renamed") {
    const left = change.kind === "renamed" ? repository.contentOf(before, ":") : index;
    await api.commands.executeCommand("vscode.diff", left, file, `${name} (Working Tree)`);
  } else if (change.kind === "deleted") {
    await api.commands.executeCommand("vscode.open", index, { preview: true }, `${name} (Deleted)`);
  } else {
    await api.commands.executeCommand("vscode.open", file);
  }
}
