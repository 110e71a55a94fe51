import type { Workspace } from "@dormouse/contract";
import { useState } from "preact/hooks";
import { AccountMenu } from "../account/menu.tsx";
import { messageOf } from "../api.ts";
import { CreateDialog } from "./create-dialog.tsx";
import { DeleteDialog } from "./delete-dialog.tsx";
import { EgressDialog } from "./egress-dialog.tsx";
import { PortsDialog } from "./ports-dialog.tsx";
import { usePrerendering } from "./prerendering.ts";
import { WorkspaceRow } from "./row.tsx";
import { useWorkspaces } from "./use-workspaces.ts";

/** The list of a person's workspaces. */
export function WorkspacesPage() {
  const { workspaces, problem: loadProblem, nowMs, refresh } = useWorkspaces();
  const [isCreating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState<Workspace>();
  const [portsOf, setPortsOf] = useState<Workspace>();
  const [egressOf, setEgressOf] = useState<Workspace>();
  const [actionProblem, setActionProblem] = useState<string>();
  const problem = actionProblem ?? loadProblem;
  usePrerendering(workspaces);

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
        <AccountMenu />
      </header>
      <main class="page">
        <div class="page-head">
          <h1>Workspaces</h1>
          <button class="button primary" type="button" onClick={() => setCreating(true)}>
            New workspace
          </button>
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
      {isCreating && <CreateDialog onClose={() => setCreating(false)} />}
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
