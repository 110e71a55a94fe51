import type { LocalRepository } from "./inspect.ts";
import { changeRefs } from "./pack.ts";

/** What {@link unpackScript} reads. `remote` is a folder with `config`, and `bundle` and `shallow` where there are such. */
export function unpackEnvironment(
  source: Pick<LocalRepository, "objectFormat" | "checkout">,
  options: { remote: string; folder: string; hasChanges: boolean },
): Record<string, string> {
  const { checkout, objectFormat } = source;
  return {
    REMOTE: options.remote,
    FOLDER: options.folder,
    FORMAT: objectFormat,
    BRANCH: checkout.kind === "branch" ? checkout.branch : "",
    COMMIT: checkout.commit ?? "",
    INDEX: options.hasChanges ? changeRefs.index : "",
    WORKTREE: options.hasChanges ? changeRefs.worktree : "",
  };
}

/**
 * The shell script that makes a repository of what was packed; runs in the machine. Fetching
 * refs as they are keeps branches branches; the two trees of what is not committed are laid
 * over the checkout: first the files, then the index, so that staged stays staged.
 */
export const unpackScript = `
set -eu
trap 'rm -rf "$REMOTE"' EXIT
mkdir -p "$FOLDER"
cd "$FOLDER"
git init -q --object-format="$FORMAT" -b "\${BRANCH:-main}" .
cat "$REMOTE/config" >> .git/config
if [ -f "$REMOTE/shallow" ]; then cp "$REMOTE/shallow" .git/shallow; fi
if [ -f "$REMOTE/bundle" ]; then
  git fetch -q --no-write-fetch-head --no-auto-gc --update-head-ok "$REMOTE/bundle" '+refs/*:refs/*'
fi
if [ -n "$COMMIT" ]; then
  if [ -n "$BRANCH" ]; then git update-ref "refs/heads/$BRANCH" "$COMMIT"; else git update-ref --no-deref HEAD "$COMMIT"; fi
  if [ -z "$WORKTREE" ]; then git reset -q --hard; fi
fi
if [ -n "$WORKTREE" ]; then
  git read-tree --reset -u "$WORKTREE"
  git read-tree "$INDEX"
  git update-index -q --refresh || true
fi
git for-each-ref --format='delete %(refname)' refs/dormouse | git update-ref --stdin
`;
