import { DormouseError, formatBytes } from "@dormouse/base";
import type { Allowance } from "@dormouse/contract";
import type { Sightings } from "./sightings.ts";
import type { WorkspaceStore } from "./store.ts";

/** What one person may have; null: as much as there is. */
export interface QuotaLimits {
  workspaces: number | null;
  snapshotBytes: number | null;
}

/** Holds people to what they may have. */
export interface Quota {
  of(ownerId: string): Promise<Allowance>;
  /**
   * Before something is made that takes more of it: a workspace needs both, a snapshot only room. What exists is never
   * touched: workspaces run on, are kept and fall asleep beyond it.
   * @throws DormouseError `resource_exhausted` naming what is used and what may be.
   */
  check(ownerId: string, what: "workspace" | "snapshot"): Promise<void>;
}

/** A {@link Quota} over what the database has and hosts say. */
export function createQuota(limits: QuotaLimits, options: { store: WorkspaceStore; sightings: Sightings }): Quota {
  const { store, sightings } = options;

  async function of(ownerId: string): Promise<Allowance> {
    const rows = (await store.list(ownerId)).filter(({ state }) => state !== "deleting");
    const stored = rows.map(({ id }) => sightings.of(id)?.snapshotBytes ?? 0);
    return {
      workspaces: { used: rows.length, limit: limits.workspaces },
      snapshotBytes: { used: stored.reduce((sum, bytes) => sum + bytes, 0), limit: limits.snapshotBytes },
    };
  }

  return {
    of,
    async check(ownerId, what) {
      if (limits.workspaces === null && limits.snapshotBytes === null) return;
      if (limits.snapshotBytes !== null && !sightings.isFilled) {
        throw new DormouseError("unavailable", "what your snapshots take is not known yet; try again in a moment");
      }
      const { workspaces, snapshotBytes } = await of(ownerId);
      if (what === "workspace" && workspaces.limit !== null && workspaces.used >= workspaces.limit) {
        throw exhausted(`${workspaces.used} of ${workspaces.limit} workspaces; delete one that is not needed`);
      }
      if (snapshotBytes.limit !== null && snapshotBytes.used >= snapshotBytes.limit) {
        const [used, limit] = [formatBytes(snapshotBytes.used), formatBytes(snapshotBytes.limit)];
        throw exhausted(`${used} of ${limit} in snapshots; delete snapshots or workspaces that are not needed`);
      }
    },
  };
}

function exhausted(what: string): DormouseError {
  return new DormouseError("resource_exhausted", `your quota is used up: you have ${what}`);
}
