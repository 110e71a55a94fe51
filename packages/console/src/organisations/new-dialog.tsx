import type { Organisation } from "@dormouse/contract";
import { useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";

/** Names a new organisation. */
export function NewOrganisationDialog(props: { onClose: () => void; onMade: (organisation: Organisation) => void }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    setProblem(undefined);
    try {
      props.onMade(await api.organisations.create({ name: String(form.get("name") ?? "") }));
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };

  return (
    <Dialog title="New organisation" onClose={props.onClose}>
      <form class="form" onSubmit={onSubmit}>
        <label>
          <span>Name</span>
          <input
            name="name"
            type="text"
            required
            autofocus
            maxLength={63}
            pattern="[a-z0-9]([a-z0-9\-]*[a-z0-9])?"
            title="Small letters, digits and - between them"
            spellcheck={false}
          />
          <small class="muted">
            Its workspaces share a quota, a key for their snapshots and rules for what may leave.
          </small>
        </label>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <div class="dialog-actions">
          <button class="button" type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button class="button primary" type="submit" disabled={isBusy}>
            Create
          </button>
        </div>
      </form>
    </Dialog>
  );
}
