import { DormouseError, sleep } from "@dormouse/base";
import type { Workspace } from "@dormouse/contract";
import type { Api } from "../api.ts";
import type { BootScreen } from "./boot-screen.ts";

/** After a stream of events broke off. */
const retryMs = 1_000;

const stateMessages: Partial<Record<Workspace["state"], string>> = {
  creating: "Waiting for a machine",
  starting: "Starting its machine",
  preparing: "Bringing the repository",
  hibernating: "Falling asleep",
  waking: "Waking up",
};

/** States of a workspace whose machine has been set up: all that the editor has to know of it is known. */
const afterFirstRun = new Set<Workspace["state"]>(["running", "hibernating", "hibernated", "waking"]);

/** Whether the workspace ran before, so that only its machine is waited for. */
export function hasRun(workspace: Workspace): boolean {
  return afterFirstRun.has(workspace.state);
}

/**
 * Follows a workspace on the screen until it runs, and wakes it when it sleeps. Rejects
 * with `failed_precondition` carrying its reason when it failed, `not_found` when it is
 * gone, `unauthenticated` when nobody is signed in.
 */
export async function untilRunning(api: Api, found: Workspace, screen: BootScreen): Promise<Workspace> {
  let workspace = found;
  for (;;) {
    if (workspace.state === "hibernated") {
      screen.progress(workspace.name, "Waking up");
      workspace = await api.workspaces.wake({ workspace: workspace.id });
    }
    if (workspace.state === "running") return workspace;
    refuseDeadEnds(workspace);
    screen.progress(workspace.name, workspace.reason ?? stateMessages[workspace.state] ?? "One moment");
    workspace = await nextState(api, workspace, screen);
  }
}

/** The workspace as soon as its state is another one. */
async function nextState(api: Api, workspace: Workspace, screen: BootScreen): Promise<Workspace> {
  const events = new AbortController();
  try {
    for await (const event of await api.workspaces.events({ workspace: workspace.id }, { signal: events.signal })) {
      if (event.type === "progress") screen.progress(workspace.name, event.message, event.fraction);
      if (event.type === "deleted") throw new DormouseError("not_found", `${workspace.name} was deleted`);
      if (event.type === "state" && event.workspace.state !== workspace.state) return event.workspace;
    }
  } catch (caught) {
    const error = DormouseError.from(caught, "unavailable");
    if (error.code !== "unavailable" && error.code !== "unknown") throw error;
  } finally {
    events.abort();
  }
  // The stream broke off, as it does when a service restarts: look, and follow anew.
  await sleep(retryMs);
  return api.workspaces.get({ workspace: workspace.id });
}

function refuseDeadEnds(workspace: Workspace): void {
  if (workspace.state === "failed") {
    throw new DormouseError("failed_precondition", workspace.reason ?? "its machine stopped", {
      details: { workspaceId: workspace.id },
    });
  }
  if (workspace.state === "deleting") throw new DormouseError("not_found", `${workspace.name} is being deleted`);
}
