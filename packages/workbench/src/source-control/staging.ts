import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import type { Change } from "./changes.ts";
import type { Repository } from "./repository.ts";

/** Paths one call carries: the agent hands them to git, whose command line is limited. */
const pathsPerCall = 1_000;

/** Puts changes into the index. Files with conflicts count as resolved by it. */
export async function stage(channel: Channel, repository: Repository, changes: readonly Change[]): Promise<void> {
  await repository.changeIndex(() =>
    inPortions(changes, (paths) => channel.guest.git.stage({ cwd: repository.cwd, paths })),
  );
}

/** Takes changes out of the index; the files stay as they are. */
export async function unstage(channel: Channel, repository: Repository, changes: readonly Change[]): Promise<void> {
  await repository.changeIndex(() =>
    inPortions(changes, (paths) => channel.guest.git.unstage({ cwd: repository.cwd, paths }), true),
  );
}

/** Undoes changes after asking; untracked files are deleted for good. */
export async function discard(
  api: Api,
  channel: Channel,
  repository: Repository,
  changes: readonly Change[],
): Promise<void> {
  const [first] = changes;
  if (!first) return;
  const untracked = changes.filter(({ kind }) => kind === "untracked");
  const isOnlyUntracked = untracked.length === changes.length;
  const what = changes.length === 1 ? `"${first.path}"` : `${changes.length} files`;
  const question = isOnlyUntracked
    ? `Are you sure you want to DELETE ${what}? This is IRREVERSIBLE: untracked files are in no commit.`
    : `Are you sure you want to discard changes in ${what}?${
        untracked.length > 0 ? ` ${untracked.length} of them are untracked and will be DELETED.` : ""
      }`;
  const button = isOnlyUntracked ? "Delete File" : "Discard Changes";
  if ((await api.window.showWarningMessage(question, { modal: true }, button)) !== button) return;
  await inPortions(changes, (paths) => channel.guest.git.discard({ cwd: repository.cwd, paths }));
  await repository.refresh();
}

async function inPortions(
  changes: readonly Change[],
  work: (paths: string[]) => Promise<unknown>,
  withOriginals = false,
): Promise<void> {
  const paths = changes.flatMap(({ path, originalPath }) =>
    withOriginals && originalPath ? [path, originalPath] : [path],
  );
  for (let start = 0; start < paths.length; start += pathsPerCall) {
    await work(paths.slice(start, start + pathsPerCall));
  }
}
