import type { PersonalSetup } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";

/** What each new workspace of whoever is signed in gets. */
export function SetupDialog(props: { onClose: () => void }) {
  const [setup, setSetup] = useState<PersonalSetup>();
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    api.me.setup({}).then(setSetup, (caught) => setProblem(messageOf(caught)));
  }, []);

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "").trim() || null;
    const repository = text("repository");
    setBusy(true);
    setProblem(undefined);
    try {
      await api.me.saveSetup({
        dotfiles:
          repository === null
            ? null
            : {
                repository,
                installCommand: text("installCommand"),
                targetPath: setup?.dotfiles?.targetPath ?? null,
              },
        ...{ shell: text("shell"), gitName: text("gitName"), gitEmail: text("gitEmail") },
      });
      props.onClose();
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };

  return (
    <Dialog title="Personal set-up" onClose={props.onClose}>
      <p class="muted small">New workspaces get this in the background. Templates never have it.</p>
      <form class="form" onSubmit={onSubmit}>
        <label>
          <span>Dotfiles</span>
          <input
            name="repository"
            placeholder="https://git.example/me/dotfiles.git"
            value={setup?.dotfiles?.repository}
          />
          <small class="muted">A git repository that can be cloned without a password.</small>
        </label>
        <label>
          <span>Install command</span>
          <input name="installCommand" value={setup?.dotfiles?.installCommand ?? ""} />
          <small class="muted">Without one, install.sh and its like are run, or the files are linked.</small>
        </label>
        <label>
          <span>Shell</span>
          <input name="shell" placeholder="zsh" value={setup?.shell ?? ""} />
        </label>
        <label>
          <span>Name for git</span>
          <input name="gitName" autocomplete="name" value={setup?.gitName ?? ""} />
        </label>
        <label>
          <span>E-mail for git</span>
          <input name="gitEmail" autocomplete="email" value={setup?.gitEmail ?? ""} />
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
          <button class="button primary" type="submit" disabled={isBusy || !setup}>
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
