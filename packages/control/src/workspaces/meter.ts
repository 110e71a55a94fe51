import type { MachineInfo } from "@dormouse/contract";
import { sql } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { usage } from "../database/schema.ts";
import type { WorkspaceRow } from "./view.ts";

/** What a meter needs to know of a workspace. */
export type Metered = Pick<
  WorkspaceRow,
  "id" | "ownerId" | "organisationId" | "state" | "generation" | "vcpus" | "memoryMib" | "startedAt"
>;

/** Writes down what is used. */
export interface Meter {
  /** Prolongs the row of a machine that runs, or ran until now, and of the hour's snapshots. Repeating it changes nothing. */
  read(workspace: Metered, machine: MachineInfo | undefined, now: Date): Promise<void>;
}

const hourMs = 3_600_000;

/** The {@link Meter} on the database. What it misses when control is killed is at most the time since the last reading. */
export function createMeter(db: Database): Meter {
  async function prolong(row: typeof usage.$inferInsert): Promise<void> {
    await db
      .insert(usage)
      .values(row)
      .onConflictDoUpdate({
        target: [usage.kind, usage.workspaceId, usage.generation, usage.startedAt],
        // Readings may come out of order: a row only grows.
        set: {
          endedAt: sql`greatest(${usage.endedAt}, excluded.ended_at)`,
          snapshotBytes: sql`greatest(${usage.snapshotBytes}, excluded.snapshot_bytes)`,
        },
      });
  }

  return {
    async read(workspace, machine, now) {
      const { id, ownerId, organisationId, generation, vcpus, memoryMib, startedAt } = workspace;
      const snapshotBytes = machine?.snapshotBytes ?? 0;
      const base = { workspaceId: id, ownerId, organisationId, vcpus, memoryMib, snapshotBytes, endedAt: now };
      if (workspace.state === "running" && startedAt) {
        await prolong({ ...base, kind: "awake", generation, startedAt });
      }
      if (snapshotBytes > 0) {
        const hour = new Date(Math.floor(now.getTime() / hourMs) * hourMs);
        await prolong({ ...base, kind: "snapshots", generation: 0, startedAt: hour });
      }
    },
  };
}
