import { DormouseError } from "@dormouse/base";
import type { CreateWorkspace, WorkspaceEvent, Workspace as WorkspaceInfo } from "@dormouse/contract";
import { fromRpcError } from "@dormouse/contract/errors";
import type { Connection } from "./connection.ts";

/** Who is told how far something is, and what ends the waiting for it. */
export interface WatchOptions {
  onProgress?: ((event: Extract<WorkspaceEvent, { type: "progress" }>) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Follows a workspace that something is being done with until it runs.
 * @throws DormouseError `failed_precondition` with the reason when it fails, `aborted` when it is deleted.
 */
export async function watchUntilRunning(
  connection: Connection,
  info: WorkspaceInfo,
  { onProgress, signal }: WatchOptions,
): Promise<WorkspaceInfo> {
  if (info.state === "running") return info;
  for await (const event of await connection.api.workspaces.events({ workspace: info.id }, { signal })) {
    if (event.type === "progress") onProgress?.(event);
    if (event.type === "deleted") throw new DormouseError("aborted", `workspace ${info.name} was deleted meanwhile`);
    if (event.type !== "state") continue;
    if (event.workspace.state === "running") return event.workspace;
    if (event.workspace.state === "failed") {
      throw new DormouseError("failed_precondition", event.workspace.reason ?? `workspace ${info.name} failed`);
    }
  }
  throw new DormouseError("unavailable", `nothing more was heard of workspace ${info.name}`);
}

/**
 * Makes a workspace step by step: reports what is being done, and deletes what was
 * made so far when it fails or `signal` aborts.
 * @throws DormouseError `failed_precondition` with the reason when the workspace failed.
 */
export async function createWatched(
  connection: Connection,
  input: Omit<CreateWorkspace, "wait">,
  options: WatchOptions,
): Promise<WorkspaceInfo> {
  const { signal } = options;
  // Not cancelled itself: it answers at once, and only its answer says what there is to delete.
  const created = await connection.api.workspaces.create({ ...input, wait: false });
  const reference = { workspace: created.id };
  try {
    signal?.throwIfAborted();
    return await watchUntilRunning(connection, created, options);
  } catch (error) {
    await connection.api.workspaces.delete(reference).catch((deletion: unknown) => {
      throw new AggregateError([error, deletion], `workspace ${created.name} failed and could not be deleted either`);
    });
    throw signal?.aborted ? DormouseError.from(signal.reason, "cancelled") : fromRpcError(error);
  }
}
