import type { GitCommit } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import type { GitReporter } from "./report.ts";
import type { Repository } from "./repository.ts";

/** Commits that are asked for at once. */
const pageLength = 50;

/** Which file at which commit; what the timeline's command is called with. */
interface CommitOfFile {
  root: string;
  /** Relative to the root. */
  path: string;
  hash: string;
  parent: string | null;
}

/** The commits of each file, in the editor's Timeline, each with what it changed. */
export interface FileHistory extends vscode.Disposable {
  /** Something was committed, or another commit checked out. */
  invalidate(): void;
}

/** Registers the history of files. */
export function registerFileHistory(options: {
  api: Api;
  channel: Channel;
  reporter: GitReporter;
  repositoryOf: (uri: vscode.Uri) => Repository | undefined;
}): FileHistory {
  const { api, channel, reporter, repositoryOf } = options;
  const changed = new api.EventEmitter<vscode.TimelineChangeEvent | undefined>();

  const item = (repository: Repository, path: string, commit: GitCommit): vscode.TimelineItem => {
    const made = new api.TimelineItem(commit.subject, commit.authoredMs);
    const of: CommitOfFile = { root: repository.root, path, hash: commit.hash, parent: commit.parents[0] ?? null };
    made.id = commit.hash;
    made.iconPath = new api.ThemeIcon("git-commit");
    made.description = commit.author;
    made.tooltip = describeCommit(api, commit);
    made.command = { command: "git.openCommitOfFile", title: "Open Changes", arguments: [of] };
    return made;
  };

  const provider: vscode.TimelineProvider = {
    id: "git-history",
    label: "Git History",
    onDidChange: changed.event,
    async provideTimeline(uri, { cursor, limit }) {
      const repository = repositoryOf(uri);
      if (!repository) return { items: [] };
      const path = toGuestPath(uri.path.slice(repository.root.length + 1));
      const skip = Number(cursor ?? 0);
      const count = typeof limit === "number" ? Math.min(limit, 1000) : pageLength;
      // One more than asked for tells whether there are more.
      const answer = await channel.guest.git.log({ cwd: repository.cwd, path, skip, limit: Math.min(count + 1, 1000) });
      const commits = answer.commits.slice(0, count);
      const next = answer.commits.length > count ? String(skip + count) : undefined;
      return { items: commits.map((commit) => item(repository, path, commit)), paging: { cursor: next } };
    },
  };

  const openCommit = async ({ root, path, hash, parent }: CommitOfFile) => {
    const repository = repositoryOf(api.Uri.file(`${root}/.`));
    if (!repository) return;
    const name = path.split("/").at(-1) ?? path;
    // Git's empty tree: the first commit has nothing before it.
    const before = repository.contentOf(path, parent ?? "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    const title = `${name} (${hash.slice(0, 8)})`;
    await api.commands.executeCommand("vscode.diff", before, repository.contentOf(path, hash), title);
  };

  const registrations = api.Disposable.from(
    api.workspace.registerTimelineProvider("file", provider),
    api.commands.registerCommand("git.openCommitOfFile", (of: CommitOfFile) =>
      reporter.attempt("Open Changes", () => openCommit(of)),
    ),
    api.commands.registerCommand("git.viewFileHistory", () =>
      api.commands.executeCommand("files.openTimeline", api.window.activeTextEditor?.document.uri),
    ),
    changed,
  );
  return { invalidate: () => changed.fire(undefined), dispose: () => registrations.dispose() };
}

/** Who committed what and when, as a hover shows it. Nothing in it is taken for more than text. */
export function describeCommit(
  api: Api,
  commit: Pick<GitCommit, "hash" | "author" | "email" | "authoredMs" | "subject">,
): vscode.MarkdownString {
  const text = new api.MarkdownString();
  text.appendText(`${commit.author} <${commit.email}>, ${new Date(commit.authoredMs).toLocaleString()}\n`);
  text.appendText(`\n${commit.subject}\n`);
  return text.appendMarkdown(`\n\`${commit.hash.slice(0, 10)}\``);
}
