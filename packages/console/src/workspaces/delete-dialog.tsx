import type { Workspace } from "@dormouse/contract";
import { api } from "../api.ts";
import { Dialog } from "../dialog.tsx";

/** Asks before a workspace is deleted. */
export function DeleteDialog(props: {
  workspace: Workspace;
  act: (work: () => Promise<unknown>) => Promise<void>;
  onClose: () => void;
}) {
  const { id, name } = props.workspace;
  const onDelete = () => {
    props.onClose();
    void props.act(() => api.workspaces.delete({ workspace: id }));
  };
  return (
    <Dialog title={`Delete ${name}?`} onClose={props.onClose}>
      <p class="muted">
        Its machine and every file in it are deleted for good. What is not pushed to a remote repository is lost.
      </p>
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
