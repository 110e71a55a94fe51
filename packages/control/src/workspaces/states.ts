import { DormouseError } from "@dormouse/base";
import type { WorkspaceState } from "@dormouse/contract";

/**
 * Where a workspace can go from where it is. What is deleted leaves the table
 * altogether, so `deleting` leads nowhere: it is tried until it succeeds.
 */
const next: Readonly<Record<WorkspaceState, readonly WorkspaceState[]>> = {
  creating: ["creating", "preparing", "running", "failed", "deleting"],
  starting: ["preparing", "running", "failed", "deleting"],
  // creating: a machine from somewhere else, because the repository says so.
  preparing: ["creating", "running", "failed", "deleting"],
  // waking: back to a snapshot, because somebody wants it or because its machine is gone.
  // preparing: its definition is applied anew.
  running: ["hibernating", "hibernated", "waking", "preparing", "failed", "deleting"],
  hibernating: ["hibernated", "running", "failed", "deleting"],
  hibernated: ["waking", "failed", "deleting"],
  waking: ["running", "hibernated", "failed", "deleting"],
  failed: ["creating", "starting", "waking", "preparing", "running", "deleting"],
  deleting: [],
};

/** States in which nothing is under way: only a request or the host changes them. */
export const settledStates = ["running", "hibernated", "failed"] as const satisfies readonly WorkspaceState[];

/** Whether a workspace may go from one state to the other. */
export function isTransition(from: WorkspaceState, to: WorkspaceState): boolean {
  return next[from].includes(to);
}

/** Whether nothing is under way in this state. */
export function isSettled(state: WorkspaceState): boolean {
  return (settledStates as readonly WorkspaceState[]).includes(state);
}

/** @throws DormouseError `failed_precondition` naming both states when there is no such transition. */
export function assertTransition(from: WorkspaceState, to: WorkspaceState): void {
  if (isTransition(from, to)) return;
  const possible = next[from].length > 0 ? `only ${next[from].join(", ")}` : "nothing else any more";
  throw new DormouseError("failed_precondition", `a workspace that is ${from} cannot become ${to}, ${possible}`, {
    details: { state: from },
  });
}
