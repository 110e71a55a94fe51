import type { GitCredential, GitProgress } from "@dormouse/contract";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import { askedCredentials } from "./credentials.ts";
import { reasonOf } from "./report.ts";
import type { Repository } from "./repository.ts";

/** Talks to remotes with progress in the status bar, which becomes a notification when it takes long. */
export interface Remotes {
  /** All that the branch's remote has, or one reference of one remote. */
  fetch(repository: Repository, target?: { remote: string; branch: string }): Promise<void>;
  pull(repository: Repository, options?: { rebase?: boolean }): Promise<void>;
  push(repository: Repository, options?: { force?: boolean }): Promise<void>;
  /** Pushes a branch that has no upstream and makes one. */
  publish(repository: Repository): Promise<void>;
  sync(repository: Repository): Promise<void>;
  /** Whether something of these is under way, for the status bar. */
  isBusy(repository: Repository): boolean;
}

type Transfer = AsyncIterable<GitProgress>;
type Open = (who: { credential?: GitCredential }, signal: AbortSignal) => Promise<Transfer>;

/** The remotes' commands; `onBusy` is called when {@link Remotes.isBusy} changes. */
export function gitRemotes(api: Api, channel: Channel, onBusy: () => void): Remotes {
  const busy = new Set<Repository>();
  const credentials = askedCredentials(api);
  const { git } = channel.guest;

  const run = (repository: Repository, title: string, open: Open) =>
    credentials.answering(repository, (credential) =>
      transfer(repository, title, (signal) => open(credential ? { credential } : {}, signal)),
    );

  const transfer = async (repository: Repository, title: string, open: (signal: AbortSignal) => Promise<Transfer>) => {
    busy.add(repository);
    onBusy();
    try {
      await api.window.withProgress(
        { location: api.ProgressLocation.Notification, title, cancellable: true },
        async (progress, token) => {
          const abort = new AbortController();
          token.onCancellationRequested(() => abort.abort());
          let lastFraction = 0;
          try {
            for await (const step of await open(abort.signal)) {
              const fraction = step.fraction ?? lastFraction;
              progress.report({ message: step.message, increment: Math.max(0, (fraction - lastFraction) * 100) });
              lastFraction = fraction;
            }
          } catch (caught) {
            if (abort.signal.aborted) throw new api.CancellationError();
            throw caught;
          }
        },
      );
    } finally {
      busy.delete(repository);
      onBusy();
      await repository.refresh();
    }
  };

  const publish = async (repository: Repository) => {
    const { cwd, status } = repository;
    const branch = status?.branch;
    if (!branch) {
      void api.window.showWarningMessage("Check out a branch to push to a remote.");
      return;
    }
    const { stdout } = await channel.guest.exec.run({ command: ["git", "remote"], cwd });
    const names = stdout.split("\n").filter(Boolean);
    if (names.length === 0) {
      void api.window.showWarningMessage("Your repository has no remotes configured to publish to.");
      return;
    }
    const remote =
      names.length === 1 ? names[0] : await api.window.showQuickPick(names, { placeHolder: "Select a remote" });
    if (!remote) return;
    await run(repository, `Publishing "${branch}" to ${remote}`, (who, signal) =>
      git.push({ cwd, remote, branch, setUpstream: true, ...who }, { signal }),
    );
  };

  const push: Remotes["push"] = async (repository, { force = false } = {}) => {
    if (repository.status?.branch && !repository.status.upstream) return publish(repository);
    try {
      await run(repository, "Pushing", (who, signal) => git.push({ cwd: repository.cwd, force, ...who }, { signal }));
    } catch (caught) {
      if (reasonOf(caught) !== "no_upstream") throw caught;
      await publish(repository);
    }
  };

  const pull: Remotes["pull"] = (repository, { rebase = false } = {}) =>
    run(repository, "Pulling", (who, signal) => git.pull({ cwd: repository.cwd, rebase, ...who }, { signal }));

  return {
    fetch: (repository, target = undefined) =>
      run(repository, "Fetching", (who, signal) => git.fetch({ cwd: repository.cwd, ...target, ...who }, { signal })),
    pull,
    push,
    publish,
    async sync(repository) {
      if (repository.status?.branch && !repository.status.upstream) return publish(repository);
      if (!(await confirmSync(api, repository))) return;
      await pull(repository);
      if ((repository.status?.ahead ?? 0) > 0) await push(repository);
    },
    isBusy: (repository) => busy.has(repository),
  };
}

async function confirmSync(api: Api, repository: Repository): Promise<boolean> {
  const configuration = api.workspace.getConfiguration("git");
  if (!configuration.get("confirmSync")) return true;
  const answer = await api.window.showWarningMessage(
    `This action will pull and push commits from and to "${repository.status?.upstream}".`,
    { modal: true },
    "OK",
    "OK, Don't Show Again",
  );
  if (answer === "OK, Don't Show Again") await configuration.update("confirmSync", false, true);
  return answer !== undefined;
}
