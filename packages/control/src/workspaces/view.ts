import type { MachineInfo, Snapshot, SnapshotInfo, Workspace, WorkspaceState } from "@dormouse/contract";
import { substituteLocal } from "@dormouse/devcontainer";
import type { workspaces } from "../database/schema.ts";
import { type Definition, type VariableOwner, variablesOf } from "../definitions/definition.ts";
import { portsOf } from "../definitions/ports.ts";

/** A workspace as it stands in the database. */
export type WorkspaceRow = Omit<typeof workspaces.$inferSelect, "state" | "env" | "personalSetup"> & {
  state: WorkspaceState;
  personalSetup: "wanted" | "brought" | null;
  env: Record<string, string>;
};

/** A workspace with the e-mail address of its owner and the name of its organisation. */
export type OwnedRow = WorkspaceRow & { owner: string; organisation: string };

/** Makes of a row what the API shows. */
export type WorkspaceView = (row: OwnedRow) => Workspace;

/** What the API shows of a workspace; its environment stays inside. `machine` is what its host said last. */
export function toWorkspace(
  row: OwnedRow,
  { publicUrl, portsDomain }: { publicUrl: string; portsDomain: string | null },
  machine: MachineInfo | undefined,
): Workspace {
  const isCurrent = machine?.generation === row.generation;
  return {
    id: row.id,
    name: row.name,
    owner: row.owner,
    organisation: row.organisation,
    state: row.state,
    reason: row.reason,
    template: row.definition?.template?.name ?? row.template,
    repository: row.repository,
    ref: row.ref,
    folder: row.folder,
    resources: { vcpus: row.vcpus, memoryMib: row.memoryMib, diskGib: row.diskGib },
    isolation: row.isolation === "hardware" || row.isolation === "emulation" ? row.isolation : null,
    createdAt: row.createdAt.toISOString(),
    startedAt: row.startedAt?.toISOString() ?? null,
    expiresAt: row.expiresAt?.toISOString() ?? null,
    hibernateAfterSeconds: row.hibernateAfterSeconds,
    deleteAfterSeconds: row.deleteAfterSeconds,
    keptAwakeBy: row.state === "running" && isCurrent ? machine.keptAwakeBy : null,
    snapshotAt: machine?.lastSnapshot ? new Date(machine.lastSnapshot.createdMs).toISOString() : null,
    forkedFrom:
      row.sourceWorkspace !== null && row.sourceSnapshot !== null
        ? { workspaceId: row.sourceWorkspace, id: row.sourceSnapshot }
        : null,
    devcontainer: row.definition && toDevcontainer(row.definition, row),
    // By id: a renamed workspace keeps its address.
    url: `${publicUrl}/w/${row.id}`,
    wakeOn: { http: row.wakeOnHttp, webSocket: row.wakeOnWebSocket },
    portUrl: portsDomain && `${new URL(publicUrl).protocol}//{port}--${addressOf(row)}.${portsDomain}`,
  };
}

/** Null when the repository has no definition. */
function toDevcontainer(definition: Definition, owner: VariableOwner): Workspace["devcontainer"] {
  const { path, problem, attached, notes, ports, stage } = definition;
  const vscode = substituteLocal(definition.vscode, variablesOf(owner));
  if (stage === "open" || (path === null && !problem)) return null;
  return { path, problem, attached, notes, ...portsOf(ports, owner), vscode };
}

/** What stands for a workspace in the names of its ports' origins. */
export function addressOf({ id, address }: Pick<WorkspaceRow, "id" | "address">): string {
  return address ?? id;
}

/** What the API shows of a snapshot. */
export function toSnapshot({ createdMs, generation: _, ...snapshot }: SnapshotInfo): Snapshot {
  return { ...snapshot, createdAt: new Date(createdMs).toISOString() };
}
