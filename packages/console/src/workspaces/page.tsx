import type { Account, Organisation, Workspace } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { AccountMenu } from "../account/menu.tsx";
import { api, messageOf } from "../api.ts";
import { NewOrganisationDialog } from "../organisations/new-dialog.tsx";
import { PeopleDialog } from "../organisations/people-dialog.tsx";
import { OrganisationSwitcher } from "../organisations/switcher.tsx";
import { useOrganisations } from "../organisations/use-organisations.ts";
import { CreateDialog } from "./create-dialog.tsx";
import { DeleteDialog } from "./delete-dialog.tsx";
import { EgressDialog } from "./egress-dialog.tsx";
import { PortsDialog } from "./ports-dialog.tsx";
import { usePrerendering } from "./prerendering.ts";
import { WorkspaceRow } from "./row.tsx";
import { useWorkspaces } from "./use-workspaces.ts";

/** The list of a person's workspaces. */
export function WorkspacesPage() {
  const { organisations, chosen, choose, refresh: refreshOrganisations } = useOrganisations();
  const { workspaces, problem: loadProblem, nowMs, refresh } = useWorkspaces(chosen?.name);
  const [account, setAccount] = useState<Account>();
  const [isCreating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState<Workspace>();
  const [portsOf, setPortsOf] = useState<Workspace>();
  const [egressOf, setEgressOf] = useState<Workspace>();
  const [isNaming, setNaming] = useState(false);
  const [peopleOf, setPeopleOf] = useState<Organisation>();
  const [actionProblem, setActionProblem] = useState<string>();
  const problem = actionProblem ?? loadProblem;
  const isOwn = (workspace: Workspace) => account === undefined || workspace.owner === account.email;
  usePrerendering(workspaces?.filter(isOwn));
  useEffect(() => {
    // The list tells when nobody is signed in.
    api.me.get({}).then(setAccount, () => undefined);
  }, []);

  const act = async (work: () => Promise<unknown>) => {
    setActionProblem(undefined);
    try {
      await work();
    } catch (caught) {
      setActionProblem(messageOf(caught));
    }
    await refresh();
  };

  return (
    <>
      <header class="bar">
        <a class="brand" href="/">
          <img src="/console/favicon.svg" alt="" />
          Dormouse
        </a>
        <AccountMenu account={account} organisation={chosen} onNewOrganisation={() => setNaming(true)} />
      </header>
      <main class="page">
        <div class="page-head">
          <h1>Workspaces</h1>
          <div class="page-actions">
            {organisations.length > 1 && (
              <OrganisationSwitcher organisations={organisations} chosen={chosen} onChoose={choose} />
            )}
            {chosen && !chosen.isPersonal && (
              <button class="button" type="button" onClick={() => setPeopleOf(chosen)}>
                People<span class="hidden"> of {chosen.name}</span>
              </button>
            )}
            <button class="button primary" type="button" onClick={() => setCreating(true)}>
              New workspace
            </button>
          </div>
        </div>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        {workspaces === undefined ? (
          !problem && <Skeleton />
        ) : workspaces.length === 0 ? (
          <Empty onCreate={() => setCreating(true)} />
        ) : (
          <ul class="card list" aria-label="Workspaces">
            {workspaces.map((workspace) => (
              <WorkspaceRow
                key={workspace.id}
                workspace={workspace}
                isOwn={isOwn(workspace)}
                showsOrganisation={chosen === undefined}
                nowMs={nowMs}
                act={act}
                onDelete={() => setDeleting(workspace)}
                onPorts={() => setPortsOf(workspace)}
                onEgress={() => setEgressOf(workspace)}
              />
            ))}
          </ul>
        )}
      </main>
      {isCreating && <CreateDialog organisations={organisations} chosen={chosen} onClose={() => setCreating(false)} />}
      {isNaming && (
        <NewOrganisationDialog
          onClose={() => setNaming(false)}
          onMade={(made) => {
            setNaming(false);
            choose(made.name);
            setPeopleOf(made);
            void refreshOrganisations();
          }}
        />
      )}
      {peopleOf && account && (
        <PeopleDialog
          organisation={peopleOf}
          me={account}
          onClose={() => {
            setPeopleOf(undefined);
            void refreshOrganisations();
          }}
        />
      )}
      {portsOf && <PortsDialog workspace={portsOf} onClose={() => setPortsOf(undefined)} />}
      {egressOf && <EgressDialog workspace={egressOf} onClose={() => setEgressOf(undefined)} />}
      {deleting && <DeleteDialog workspace={deleting} act={act} onClose={() => setDeleting(undefined)} />}
    </>
  );
}

function Empty(props: { onCreate: () => void }) {
  return (
    <div class="card empty">
      <img src="/console/favicon.svg" alt="" />
      <h2>Nothing here yet</h2>
      <p class="muted">
        A workspace is a machine of its own with your repository and an editor, ready in about a second.
      </p>
      <button class="button" type="button" onClick={props.onCreate}>
        Create the first one
      </button>
    </div>
  );
}

function Skeleton() {
  return (
    <div class="card list" aria-busy="true">
      <div class="row skeleton" />
      <div class="row skeleton" />
    </div>
  );
}
