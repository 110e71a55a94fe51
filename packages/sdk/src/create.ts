import { DormouseError } from "@dormouse/base";
import type { CreateWorkspace, WorkspaceEvent, Workspace as WorkspaceInfo } from "@dormouse/contract";
import { fromRpcError } from "@dormouse/contract/errors";
import type { Connection } from "./connection.ts";

/**
 * Makes a workspace step by step: reports what is being done, and deletes what was
 * made so far when it fails or `signal` aborts.
 * @throws DormouseError `failed_precondition` with the reason when the workspace failed.
 */
export async function createWatched(
  connection: Connection,
  input: Omit<CreateWorkspace, "wait">,
  options: {
    onProgress?: (event: Extract<WorkspaceEvent, { type: "progress" }>) => void;
    signal?: AbortSignal;
  },
): Promise<WorkspaceInfo> {
  const { signal } = options;
  // Not cancelled itself: it answers at once, and only its answer says what there is to delete.
  const created = await connection.api.workspaces.create({ ...input, wait: false });
  const reference = { workspace: created.id };
  try {
    signal?.throwIfAborted();
    if (created.state === "running") return created;
    for await (const event of await connection.api.workspaces.events(reference, { signal })) {
      if (event.type === "progress") options.onProgress?.(event);
      if (event.type === "deleted")
        throw new DormouseError("aborted", `workspace ${created.name} was deleted meanwhile`);
      if (event.type !== "state") continue;
      if (event.workspace.state === "running") return event.workspace;
      if (event.workspace.state === "failed") {
        throw new DormouseError("failed_precondition", event.workspace.reason ?? `workspace ${created.name} failed`);
      }
    }
    throw new DormouseError("unavailable", `nothing more was heard of workspace ${created.name}`);
  } catch (error) {
    await connection.api.workspaces.delete(reference).catch((deletion: unknown) => {
      throw new AggregateError([error, deletion], `workspace ${created.name} failed and could not be deleted either`);
    });
    throw signal?.aborted ? DormouseError.from(signal.reason, "cancelled") : fromRpcError(error);
  }
}
