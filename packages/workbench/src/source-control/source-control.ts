import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { toEditorPath, toGuestPath } from "../paths.ts";
import type { Api } from "../vscode/extension.ts";
import { registerBlame } from "./blame.ts";
import { registerCommands, repositoryOf } from "./commands.ts";
import { registerConflictLenses } from "./conflict-lenses.ts";
import { registerContent } from "./content.ts";
import { registerDecorations } from "./decorations.ts";
import { registerFileHistory } from "./history.ts";
import { gitRemotes } from "./remotes.ts";
import { gitReporter } from "./report.ts";
import { Repository } from "./repository.ts";
import { statusBarCommands } from "./status-bar.ts";

/** What source control is registered with. */
export interface SourceControlOptions {
  api: Api;
  channel: Channel;
  /** The workspace's folder as it stands in URIs; repositories are looked for here and below. */
  folder: string;
  /** Paths, as they stand in URIs, that changed in the machine. */
  onDidChangeFiles: (listener: (paths: readonly string[]) => void) => vscode.Disposable;
  /** Changes were missed. */
  onDidMissChanges: (listener: () => void) => vscode.Disposable;
}

/** Source control over the machine's git: one provider for each repository below the workspace's folder. */
export async function registerSourceControl(options: SourceControlOptions): Promise<vscode.Disposable> {
  const { api, channel, folder } = options;
  const reporter = gitReporter(api);
  const content = registerContent(api, channel);
  const decorations = registerDecorations(api);
  const repositories = new Map<string, Repository>();
  const ofFile = (uri: vscode.Uri) => repositoryOf([...repositories.values()], uri);
  const history = registerFileHistory({ api, channel, reporter, repositoryOf: ofFile });
  const blame = registerBlame({ api, channel, reporter, repositoryOf: ofFile });

  const update = () => {
    decorations.update(repositories.values());
    for (const repository of repositories.values()) {
      repository.sourceControl.statusBarCommands = statusBarCommands(repository, remotes.isBusy(repository));
    }
    void api.commands.executeCommand("setContext", "git.repositoryCount", repositories.size);
  };
  const remotes = gitRemotes(api, channel, update);

  const discover = async () => {
    const { roots } = await channel.guest.git.discover({ path: toGuestPath(folder) });
    const found = new Set(roots.map(toEditorPath));
    for (const [root, repository] of repositories) {
      if (found.has(root)) continue;
      repository.dispose();
      repositories.delete(root);
    }
    for (const root of found) {
      if (repositories.has(root)) continue;
      const onRefreshFailed = (error: Error) => reporter.log(`status of ${root}: ${error.message}`);
      const onHeadMoved = () => {
        history.invalidate();
        blame.invalidate();
      };
      const repository = new Repository({
        api,
        channel,
        content,
        root,
        onChanged: update,
        onHeadMoved,
        onRefreshFailed,
      });
      repositories.set(root, repository);
      void repository.refresh();
    }
    update();
  };

  const touch = (paths: readonly string[]) => {
    // A repository came or went.
    if (paths.some((path) => path.endsWith("/.git"))) void reporter.attempt("Looking for repositories", discover);
    for (const repository of repositories.values()) {
      const inside = paths.filter((path) => path.startsWith(`${repository.root}/`));
      if (inside.length === 0) continue;
      const gitFolder = `${repository.root}/.git/`;
      const ofGit = inside.filter((path) => path.startsWith(gitFolder));
      // Git writes locks and objects all the time; they tell nothing that the index and the refs do not.
      const telling = ofGit.filter((path) => !path.endsWith(".lock") && !path.startsWith(`${gitFolder}objects/`));
      if (telling.length > 0 || ofGit.length < inside.length) repository.touch(telling.length > 0);
    }
  };
  const touchAll = () => {
    for (const repository of repositories.values()) repository.touch(true);
  };

  const disposables = api.Disposable.from(
    registerCommands({ api, channel, remotes, reporter, repositories: () => [...repositories.values()] }),
    api.commands.registerCommand("git.init", () =>
      reporter.attempt("Initialize Repository", async () => {
        await channel.guest.git.init({ cwd: toGuestPath(folder) });
        await discover();
      }),
    ),
    options.onDidChangeFiles(touch),
    options.onDidMissChanges(touchAll),
    api.window.onDidChangeWindowState(({ focused }) => focused && touchAll()),
    { dispose: () => repositories.forEach((repository) => void repository.dispose()) },
    registerConflictLenses(api, reporter),
    blame,
    history,
    content,
    decorations,
    reporter,
  );
  await reporter.attempt("Looking for repositories", discover);
  return disposables;
}
