import { useState } from "preact/hooks";
import { messageOf, post } from "../api.ts";
import { Dialog } from "../dialog.tsx";

/** Sets the password of whoever is signed in; the present one is needed once there is one. */
export function PasswordDialog(props: { onClose: () => void }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const current = String(form.get("current") ?? "");
    setBusy(true);
    setProblem(undefined);
    try {
      await post("/api/me/password", { ...(current ? { current } : {}), next: form.get("next") });
      props.onClose();
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };

  return (
    <Dialog title="Set password" onClose={props.onClose}>
      <form class="form" onSubmit={onSubmit}>
        <label>
          <span>Present password</span>
          <input name="current" type="password" autocomplete="current-password" />
          <small class="muted">Leave it empty when you have none yet.</small>
        </label>
        <label>
          <span>New password</span>
          <input name="next" type="password" autocomplete="new-password" required minLength={10} maxLength={128} />
          <small class="muted">At least 10 characters.</small>
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
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
