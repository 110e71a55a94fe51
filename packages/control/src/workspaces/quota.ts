import { DormouseError, formatBytes } from "@dormouse/base";
import type { Allowance } from "@dormouse/contract";
import type { OrganisationStore } from "../organisations/store.ts";
import type { Sightings } from "./sightings.ts";
import type { WorkspaceStore } from "./store.ts";
import type { OwnedRow } from "./view.ts";

/** What one person, or an organisation, may have; null: as much as there is. */
export interface QuotaLimits {
  workspaces: number | null;
  snapshotBytes: number | null;
}

/** Holds people, and organisations as a whole, to what they may have. */
export interface Quota {
  /** In all organisations together. */
  of(userId: string): Promise<Allowance>;
  ofOrganisation(organisationId: string): Promise<Allowance>;
  /**
   * Before something is made that takes more of it: a workspace needs both, a snapshot only room. What exists is never
   * touched: workspaces run on, are kept and fall asleep beyond it.
   * @throws DormouseError `resource_exhausted` naming what is used, what may be, and whose quota it is.
   */
  check(of: { userId: string; organisationId: string }, what: "workspace" | "snapshot"): Promise<void>;
}

/**
 * A {@link Quota} over what the database has and hosts say.
 * @param limits each person's, whatever organisations they are in.
 */
export function createQuota(
  limits: QuotaLimits,
  options: {
    store: Pick<WorkspaceStore, "list" | "ofOrganisation">;
    organisations: Pick<OrganisationStore, "any">;
    sightings: Sightings;
  },
): Quota {
  const { store, organisations, sightings } = options;

  function allowance(all: readonly OwnedRow[], may: QuotaLimits): Allowance {
    const rows = all.filter(({ state }) => state !== "deleting");
    const stored = rows.map(({ id }) => sightings.of(id)?.snapshotBytes ?? 0);
    return {
      workspaces: { used: rows.length, limit: may.workspaces },
      snapshotBytes: { used: stored.reduce((sum, bytes) => sum + bytes, 0), limit: may.snapshotBytes },
    };
  }

  const of = async (userId: string) => allowance(await store.list(userId), limits);

  async function limitsOf(organisationId: string): Promise<QuotaLimits & { name: string }> {
    const row = await organisations.any(organisationId);
    if (!row) throw new DormouseError("not_found", `there is no organisation ${organisationId}`);
    return { name: row.name, workspaces: row.maxWorkspaces, snapshotBytes: row.maxSnapshotBytes };
  }

  function check(whose: string, { workspaces, snapshotBytes }: Allowance, what: "workspace" | "snapshot") {
    if (snapshotBytes.limit !== null && !sightings.isFilled) {
      throw new DormouseError("unavailable", "what your snapshots take is not known yet; try again in a moment");
    }
    if (what === "workspace" && workspaces.limit !== null && workspaces.used >= workspaces.limit) {
      throw exhausted(whose, `${workspaces.used} of ${workspaces.limit} workspaces; delete one that is not needed`);
    }
    if (snapshotBytes.limit !== null && snapshotBytes.used >= snapshotBytes.limit) {
      const [used, limit] = [formatBytes(snapshotBytes.used), formatBytes(snapshotBytes.limit)];
      throw exhausted(whose, `${used} of ${limit} in snapshots; delete snapshots or workspaces that are not needed`);
    }
  }

  return {
    of,
    async ofOrganisation(organisationId) {
      const may = await limitsOf(organisationId);
      return allowance(await store.ofOrganisation(organisationId), may);
    },
    async check({ userId, organisationId }, what) {
      if (isLimited(limits)) check("your quota is used up: you have", await of(userId), what);
      const may = await limitsOf(organisationId);
      if (!isLimited(may)) return;
      const used = allowance(await store.ofOrganisation(organisationId), may);
      check(`the quota of organisation ${may.name} is used up: it has`, used, what);
    },
  };
}

const isLimited = ({ workspaces, snapshotBytes }: QuotaLimits) => workspaces !== null || snapshotBytes !== null;

function exhausted(whose: string, what: string): DormouseError {
  return new DormouseError("resource_exhausted", `${whose} ${what}`);
}
