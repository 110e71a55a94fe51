import { DormouseError } from "@dormouse/base";
import type { Channel } from "../channel/channel.ts";
import type { Api } from "../vscode/extension.ts";
import type { Remotes } from "./remotes.ts";
import type { Repository } from "./repository.ts";

/** Where servers keep what a pull request is about: GitHub, Gitea and Forgejo; GitLab; Bitbucket. */
const pullRequestRefs = (number: string) => [
  `refs/pull/${number}/head`,
  `refs/merge-requests/${number}/head`,
  `refs/pull-requests/${number}/from`,
];

/** Asks for a number and checks that pull request out, as the branch `pr/NUMBER`. A later time brings it up to date. */
export async function checkoutPullRequest(
  api: Api,
  channel: Channel,
  remotes: Remotes,
  repository: Repository,
): Promise<void> {
  const number = await api.window.showInputBox({
    prompt: "Number of the pull request (or merge request)",
    placeHolder: "123",
    ignoreFocusOut: true,
    validateInput: (value) => (/^#?\d{1,10}$/.test(value.trim()) ? undefined : "A number, such as 123"),
  });
  if (!number) return;
  const plain = number.trim().replace("#", "");
  const branch = `pr/${plain}`;
  const kept = `refs/remotes/origin/${branch}`;
  await fetchFirst(remotes, repository, plain, kept);
  const { cwd } = repository;
  const { branches } = await channel.guest.git.branches({ cwd });
  const isThere = branches.some(({ name, remote }) => !remote && name === branch);
  const request = isThere ? { ref: branch } : { ref: branch, create: true, startPoint: kept };
  await channel.guest.git.checkout({ cwd, ...request });
  if (isThere) await forward(channel, cwd, branch, kept);
  await repository.refresh();
}

/** Fetches from whichever of the places the server has. */
async function fetchFirst(remotes: Remotes, repository: Repository, number: string, kept: string): Promise<void> {
  for (const ref of pullRequestRefs(number)) {
    try {
      await remotes.fetch(repository, { remote: "origin", branch: `+${ref}:${kept}` });
      return;
    } catch (caught) {
      if (DormouseError.from(caught).code !== "not_found") throw caught;
    }
  }
  throw new DormouseError("not_found", `the remote origin has no pull request ${number}`);
}

/** Brings a branch that was checked out before to where the pull request is now, unless something was committed on it. */
async function forward(channel: Channel, cwd: string, branch: string, to: string): Promise<void> {
  const { exitCode, stderr } = await channel.guest.exec.run({ command: ["git", "merge", "--ff-only", to], cwd });
  if (exitCode === 0) return;
  const why = stderr.trim().split("\n").at(-1);
  throw new DormouseError("failed_precondition", `${branch} has commits that the pull request has not: ${why}`);
}
