import { type Organisation, personalOrganisation, type SecretInfo } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";

/** Values that workspaces use and never have: of an organisation, else of whoever is signed in. */
export function SecretsDialog(props: { organisation: Organisation | undefined; onClose: () => void }) {
  const isShared = props.organisation !== undefined && !props.organisation.isPersonal;
  const organisation = isShared ? (props.organisation?.id ?? "") : personalOrganisation;
  const mayChange = !isShared || props.organisation?.role !== "member";
  const [secrets, setSecrets] = useState<readonly SecretInfo[]>();
  const [notes, setNotes] = useState<readonly string[]>([]);
  const [problem, setProblem] = useState<string>();

  const act = async (work: () => Promise<unknown>) => {
    setProblem(undefined);
    setNotes([]);
    try {
      await work();
      setSecrets((await api.secrets.list({ organisation })).secrets);
      return true;
    } catch (caught) {
      setProblem(messageOf(caught));
      return false;
    }
  };
  useEffect(() => void act(async () => {}), [organisation]);

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const element = event.currentTarget as HTMLFormElement;
    const form = new FormData(element);
    const text = (name: string) => String(form.get(name) ?? "");
    const hosts = text("hosts")
      .split(/[\s,]+/)
      .filter((host) => host !== "");
    const isDone = await act(async () => {
      const set = await api.secrets.set({ organisation, name: text("name").trim(), value: text("value"), hosts });
      setNotes(set.notes);
    });
    if (isDone) element.reset();
  };

  return (
    <Dialog title={isShared ? `Secrets of ${props.organisation?.name}` : "Your secrets"} onClose={props.onClose}>
      <p class="muted small">
        Workspaces have a placeholder. The value takes its place outside of them, in requests to these hosts alone;
        nobody reads it again.
      </p>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {notes.map((note) => (
        <p key={note} class="muted small" role="status">
          {note}
        </p>
      ))}
      {secrets?.length === 0 && <p class="muted">There are none yet.</p>}
      <ul class="people" aria-label="Secrets">
        {secrets?.map(({ name, hosts, repositories, insecure }) => (
          <li key={name}>
            <div>
              {name}
              <p class="muted small">
                {hosts.join(", ")}
                {repositories && `; in ${repositories.join(", ")}`}
                {insecure && "; also by plain HTTP"}
              </p>
            </div>
            {mayChange && (
              <button
                class="button quiet danger"
                type="button"
                onClick={() => void act(() => api.secrets.remove({ organisation, name }))}
              >
                Remove<span class="hidden"> {name}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
      {mayChange && (
        <form class="form" onSubmit={(event) => void onSubmit(event)} aria-label="Set a secret">
          <label>
            <span>Name</span>
            <input name="name" required maxLength={128} placeholder="GITHUB_TOKEN" autocomplete="off" />
          </label>
          <label>
            <span>Value</span>
            <input name="value" type="password" required autocomplete="off" />
          </label>
          <label>
            <span>Hosts</span>
            <input name="hosts" required placeholder="api.github.com, *.example.com" autocomplete="off" />
            <small class="muted">Where the value may go.</small>
          </label>
          <div class="dialog-actions">
            <button class="button" type="button" onClick={props.onClose}>
              Close
            </button>
            <button class="button primary" type="submit">
              Set
            </button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
