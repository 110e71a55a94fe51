import { DormouseError, KeyedLock } from "@dormouse/base";
import type { GitStatus } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { toEditorPath, toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { type Change, changeLooks, changesOf, type GroupId, groupIds } from "./changes.ts";
import { type ContentProvider, contentUri } from "./content.ts";

/** A row of the Source Control view, with what its commands need. */
export interface ChangeRow extends vscode.SourceControlResourceState {
  readonly change: Change;
  readonly repository: Repository;
}

/** What a {@link Repository} is made of. */
export interface RepositoryOptions {
  api: Api;
  channel: Channel;
  content: ContentProvider;
  /** The repository's folder, as it stands in URIs. */
  root: string;
  onChanged: () => void;
  /** Another commit is checked out than before, or one for the first time. */
  onHeadMoved: () => void;
  onRefreshFailed: (error: DormouseError) => void;
}

const groupLabels: Record<GroupId, string> = {
  merge: "Merge Changes",
  index: "Staged Changes",
  workingTree: "Changes",
  untracked: "Untracked",
};

/** Files change in bursts; one look after the burst is enough. */
const settleMs = 300;
/** Looking at the status takes at most this part of the machine's time while files keep changing. */
const pauseFactor = 3;

/** One repository as the editor's source control. */
export class Repository implements vscode.Disposable {
  readonly root: string;
  readonly sourceControl: vscode.SourceControl;
  /** The last status; undefined until the first refresh. */
  status: GitStatus | undefined;
  /** Rows by group. */
  changes: Record<GroupId, Change[]> = { merge: [], index: [], workingTree: [], untracked: [] };

  readonly #options: RepositoryOptions;
  readonly #groups: Record<GroupId, vscode.SourceControlResourceGroup>;
  readonly #rows = new Map<string, ChangeRow>();
  readonly #indexLock = new KeyedLock();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refreshing: Promise<void> | undefined;
  #isStale = false;
  #isContentStale = false;
  #isDisposed = false;
  #lastDurationMs = 0;

  constructor(options: RepositoryOptions) {
    const { api, root } = options;
    this.#options = options;
    this.root = root;
    this.sourceControl = api.scm.createSourceControl("git", "Git", api.Uri.file(root));
    this.sourceControl.acceptInputCommand = { command: "git.commit", title: "Commit", arguments: [this.sourceControl] };
    this.sourceControl.quickDiffProvider = { provideOriginalResource: (uri) => this.#original(uri) };
    const group = (id: GroupId) => {
      const made = this.sourceControl.createResourceGroup(id, groupLabels[id]);
      made.hideWhenEmpty = id !== "workingTree";
      return made;
    };
    this.#groups = {
      merge: group("merge"),
      index: group("index"),
      workingTree: group("workingTree"),
      untracked: group("untracked"),
    };
  }

  /** The folder in the machine, for calls of its agent. */
  get cwd(): string {
    return toGuestPath(this.root);
  }

  /** The branch, or the short hash of a detached head. */
  get headName(): string {
    const { status } = this;
    return status?.branch ?? status?.head?.slice(0, 8) ?? "";
  }

  uriOf(path: string): vscode.Uri {
    return this.#options.api.Uri.file(`${this.root}/${toEditorPath(path)}`);
  }

  /** The file as it is at `ref`; `:` is the index. */
  contentOf(path: string, ref: string): vscode.Uri {
    return contentUri(this.#options.api, this.root, toEditorPath(path), ref);
  }

  /** Looks again soon; many calls in a row give one look. `isContentStale`: the index or the head moved too. */
  touch(isContentStale: boolean): void {
    this.#isContentStale ||= isContentStale;
    if (this.#isDisposed) return;
    if (this.#timer) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        void this.#look();
      },
      Math.max(settleMs, this.#lastDurationMs * pauseFactor),
    );
  }

  /** Changes the index after what was begun before has changed it; resolves when the view shows what is. */
  changeIndex(work: () => Promise<void>): Promise<void> {
    return this.#indexLock.run("index", async () => {
      await work();
      await this.refresh();
    });
  }

  /** Looks when all that was begun before has changed the index; resolves when the view shows what is. */
  refreshSettled(): Promise<void> {
    return this.changeIndex(async () => {});
  }

  /** Looks now; resolves when the view shows what is. */
  async refresh(): Promise<void> {
    this.#isContentStale = true;
    await this.#look();
  }

  dispose(): void {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
    this.sourceControl.dispose();
  }

  async #look(): Promise<void> {
    this.#isStale = true;
    this.#refreshing ??= this.#lookUntilFresh().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  async #lookUntilFresh(): Promise<void> {
    while (this.#isStale && !this.#isDisposed) {
      this.#isStale = false;
      const startMs = performance.now();
      try {
        const status = await this.#options.channel.guest.git.status({ cwd: this.cwd });
        if (this.#isDisposed) return;
        this.#lastDurationMs = performance.now() - startMs;
        this.#show(status);
      } catch (caught) {
        this.#options.onRefreshFailed(DormouseError.from(caught));
      }
    }
  }

  #show(status: GitStatus): void {
    const isFirst = this.status === undefined;
    const hasHeadMoved = !isFirst && this.status?.head !== status.head;
    this.status = status;
    this.changes = changesOf(status);
    const shown = new Set<ChangeRow>();
    for (const id of groupIds) {
      const rows = this.changes[id].map((change) => this.#row(change));
      this.#groups[id].resourceStates = rows;
      for (const row of rows) shown.add(row);
    }
    for (const [key, row] of this.#rows) if (!shown.has(row)) this.#rows.delete(key);
    this.sourceControl.count = groupIds.reduce((count, id) => count + this.changes[id].length, 0);
    this.sourceControl.inputBox.placeholder = `Message (Ctrl+Enter to commit on "${this.headName}")`;
    if (this.#isContentStale || hasHeadMoved) this.#options.content.invalidate(this.root);
    this.#isContentStale = false;
    this.#options.onChanged();
    if (isFirst || hasHeadMoved) this.#options.onHeadMoved();
  }

  /** The row of a change; the same object as before, so that the editor sees that it did not change. */
  #row(change: Change): ChangeRow {
    const key = [change.group, change.kind, change.path, change.originalPath].join("\0");
    const kept = this.#rows.get(key);
    if (kept) return kept;
    const look = changeLooks[change.kind];
    const row: ChangeRow & { command: vscode.Command } = {
      change,
      repository: this,
      resourceUri: this.uriOf(change.path),
      contextValue: change.kind,
      decorations: { strikeThrough: look.isDeleted, tooltip: look.tooltip },
      command: { command: "git.openChange", title: "Open Changes" },
    };
    row.command.arguments = [row];
    this.#rows.set(key, row);
    return row;
  }

  #original(uri: vscode.Uri): vscode.Uri | undefined {
    if (uri.scheme !== "file" || !uri.path.startsWith(`${this.root}/`)) return undefined;
    const path = uri.path.slice(this.root.length + 1);
    // What git does not know has no earlier form; marking all of it as added only makes noise.
    const isUntracked = this.changes.untracked.some(
      (change) => change.path === path || (change.path.endsWith("/") && path.startsWith(change.path)),
    );
    return isUntracked ? undefined : contentUri(this.#options.api, this.root, path, ":");
  }
}
