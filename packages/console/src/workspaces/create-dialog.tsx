import { type Organisation, personalOrganisation, type Template } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";
import { organisationLabel } from "../organisations/switcher.tsx";
import { repositoryLabel } from "../repository-label.ts";

const hour = 3600;
const lives = [
  ["", "Keep until I delete it"],
  [String(hour), "1 hour"],
  [String(8 * hour), "8 hours"],
  [String(24 * hour), "1 day"],
  [String(7 * 24 * hour), "7 days"],
] as const;

/** The form that creates a workspace and then opens it; the workspace's own page shows the progress. */
export function CreateDialog(props: {
  organisations: readonly Organisation[];
  /** What the list shows; the person's own otherwise. */
  chosen: Organisation | undefined;
  onClose: () => void;
}) {
  const [templates, setTemplates] = useState<Pick<Template, "name" | "repository" | "organisation">[]>([
    { name: "base", repository: null, organisation: null },
  ]);
  const [organisation, setOrganisation] = useState(props.chosen?.name ?? personalOrganisation);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    api.templates.list({}).then(
      (answer) => setTemplates(answer.templates),
      // The choice stays at `base`; creating tells what is wrong.
      () => undefined,
    );
  }, []);

  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (field: string) => String(form.get(field) ?? "").trim() || undefined;
    const ttl = text("ttl");
    setBusy(true);
    setProblem(undefined);
    try {
      const workspace = await api.workspaces.create({
        repository: text("repository"),
        ref: text("ref"),
        name: text("name"),
        template: text("template") ?? "base",
        organisation,
        ttlSeconds: ttl ? Number(ttl) : null,
        wait: false,
      });
      location.assign(`/w/${workspace.name}`);
    } catch (caught) {
      setProblem(messageOf(caught));
      setBusy(false);
    }
  };

  // Another organisation's are sealed with another key.
  const startable = templates.filter((template) => [null, organisation].includes(template.organisation));

  return (
    <Dialog title="New workspace" onClose={props.onClose}>
      <form class="form" onSubmit={onSubmit}>
        <label>
          <span>Repository</span>
          <input
            name="repository"
            type="text"
            placeholder="https://example.org/team/app.git"
            autofocus
            spellcheck={false}
          />
          <small class="muted">A Git address. Leave it empty for an empty workspace.</small>
        </label>
        <div class="form-pair">
          <label>
            <span>Branch, tag or commit</span>
            <input name="ref" type="text" placeholder="default branch" spellcheck={false} />
          </label>
          <label>
            <span>Name</span>
            <input
              name="name"
              type="text"
              placeholder="after the repository"
              maxLength={63}
              pattern="[a-z0-9]([a-z0-9\-]*[a-z0-9])?"
              title="Small letters, digits and - between them"
              spellcheck={false}
            />
          </label>
        </div>
        <div class="form-pair">
          <label>
            <span>Template</span>
            <select name="template">
              {startable.map(({ name, repository }) => (
                <option key={name} value={name} selected={name === "base"}>
                  {repository ? `${name} (has ${repositoryLabel(repository)})` : name}
                </option>
              ))}
            </select>
          </label>
          <label>
            <span>Life</span>
            <select name="ttl">
              {lives.map(([seconds, label]) => (
                <option key={seconds} value={seconds}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        </div>
        {props.organisations.length > 1 && (
          <label>
            <span>Organisation</span>
            <select
              name="organisation"
              value={organisation}
              onChange={({ currentTarget }) => setOrganisation(currentTarget.value)}
            >
              {props.organisations.map(({ id, name }) => (
                <option key={id} value={name}>
                  {organisationLabel(name)}
                </option>
              ))}
            </select>
          </label>
        )}
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
            {isBusy ? "Creating" : "Create"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
