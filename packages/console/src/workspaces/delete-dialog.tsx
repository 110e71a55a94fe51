import type { UnpushedWork, Workspace } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api.ts";
import { Dialog } from "../dialog.tsx";
import { relativeTime } from "../time.ts";

/** Asks before a workspace is deleted. */
export function DeleteDialog(props: {
  workspace: Workspace;
  act: (work: () => Promise<unknown>) => Promise<void>;
  onClose: () => void;
}) {
  const { id, name } = props.workspace;
  const [work, setWork] = useState<UnpushedWork | null>(null);
  useEffect(() => {
    // What cannot be found out is not worth an error here: the text below says what is at stake in any case.
    api.workspaces.unpushed({ workspace: id }).then(
      (answer) => setWork(answer.work),
      () => {},
    );
  }, [id]);
  const onDelete = () => {
    props.onClose();
    void props.act(() => api.workspaces.delete({ workspace: id }));
  };
  return (
    <Dialog title={`Delete ${name}?`} onClose={props.onClose}>
      <p class="muted">
        Its machine and every file in it are deleted for good. What is not pushed to a remote repository is lost.
      </p>
      {work && hasWork(work) && (
        <ul class="problem loss" aria-label="Pushed nowhere">
          {work.changedFiles > 0 && <li>Changed files: {work.changedFiles}</li>}
          {work.commits !== 0 && <li>Commits that no remote has: {work.commits ?? "not counted"}</li>}
          {work.stashes ? <li>Stashes: {work.stashes}</li> : null}
          <li class="muted">
            {work.branch === null ? "No branch is checked out" : `On ${work.branch}`}, as of{" "}
            {relativeTime(work.at, Date.now())}
          </li>
        </ul>
      )}
      <div class="dialog-actions">
        <button class="button" type="button" autofocus onClick={props.onClose}>
          Cancel
        </button>
        <button class="button danger-solid" type="button" onClick={onDelete}>
          Delete {name}
        </button>
      </div>
    </Dialog>
  );
}

function hasWork({ changedFiles, commits, stashes }: UnpushedWork): boolean {
  return changedFiles > 0 || commits !== 0 || (stashes ?? 0) > 0;
}
