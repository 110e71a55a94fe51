import { personalOrganisation, type Workspace } from "@dormouse/contract";
import { api } from "../api.ts";
import { repositoryLabel } from "../repository-label.ts";
import { relativeTime } from "../time.ts";

const stateLabels: Readonly<Record<Workspace["state"], string>> = {
  creating: "Creating",
  starting: "Starting",
  preparing: "Preparing",
  running: "Running",
  hibernating: "Falling asleep",
  hibernated: "Asleep",
  waking: "Waking",
  deleting: "Deleting",
  failed: "Failed",
};

/** One workspace in the list. */
export function WorkspaceRow(props: {
  workspace: Workspace;
  /** Somebody else's can be put to sleep and deleted, and not opened. */
  isOwn: boolean;
  /** Whether its organisation is said. */
  showsOrganisation: boolean;
  nowMs: number;
  act: (work: () => Promise<unknown>) => Promise<void>;
  onDelete: () => void;
  onPorts: () => void;
  onEgress: () => void;
}) {
  const { workspace, isOwn, nowMs, act } = props;
  const { id, name, state, repository, ref, reason, createdAt, expiresAt, snapshotAt, keptAwakeBy } = workspace;
  const facts = [
    ...(isOwn ? [] : [`of ${workspace.owner}`]),
    ...(props.showsOrganisation && workspace.organisation !== personalOrganisation ? [workspace.organisation] : []),
    repository ? repositoryLabel(repository) + (ref ? ` @ ${ref}` : "") : "no repository",
    `created ${relativeTime(createdAt, nowMs)}`,
    ...(snapshotAt ? [`kept ${relativeTime(snapshotAt, nowMs)}`] : []),
    ...(keptAwakeBy ? [`awake because of ${keptAwakeBy}`] : []),
    ...(expiresAt ? [`deleted ${relativeTime(expiresAt, nowMs)}`] : []),
  ];
  return (
    <li class="row" data-state={state}>
      <div class="row-main">
        <div class="row-title">
          {isOwn ? (
            <a href={`/w/${name}`} class="row-name">
              {name}
            </a>
          ) : (
            <span class="row-name">{name}</span>
          )}
          <span class="state">
            <span class="state-dot" aria-hidden="true" />
            {stateLabels[state]}
          </span>
        </div>
        <p class="muted small row-facts">{facts.join(" · ")}</p>
        {reason && <p class={state === "failed" ? "row-reason failed" : "row-reason muted"}>{reason}</p>}
      </div>
      <div class="row-actions">
        {isOwn && state === "running" && (
          <button class="button quiet" type="button" onClick={props.onPorts}>
            Ports<span class="hidden"> of {name}</span>
          </button>
        )}
        {isOwn && state !== "deleting" && (
          <button class="button quiet" type="button" onClick={props.onEgress}>
            Egress<span class="hidden"> of {name}</span>
          </button>
        )}
        {state === "running" && (
          <button
            class="button quiet"
            type="button"
            onClick={() => act(() => api.workspaces.hibernate({ workspace: id }))}
          >
            Hibernate<span class="hidden"> {name}</span>
          </button>
        )}
        {isOwn && (state === "hibernated" || state === "failed") && (
          <button class="button quiet" type="button" onClick={() => act(() => api.workspaces.wake({ workspace: id }))}>
            {state === "failed" ? "Start again" : "Wake"}
            <span class="hidden"> {name}</span>
          </button>
        )}
        <button class="button quiet danger" type="button" disabled={state === "deleting"} onClick={props.onDelete}>
          Delete<span class="hidden"> {name}</span>
        </button>
        {isOwn && (
          <a class="button" href={`/w/${name}`}>
            Open<span class="hidden"> {name}</span>
          </a>
        )}
      </div>
    </li>
  );
}
