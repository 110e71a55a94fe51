import type { MemberUsage } from "@dormouse/contract";
import { and, eq, gt, sql } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { usage, users } from "../database/schema.ts";
import type { Sightings } from "../workspaces/sightings.ts";
import type { WorkspaceStore } from "../workspaces/store.ts";

/** What people have used in an organisation. */
export interface Usage {
  /** Of whoever has something there or had in the last 30 days, by e-mail address. */
  of(organisationId: string): Promise<MemberUsage[]>;
}

const days = 30;

/** The {@link Usage} of what meters wrote and hosts say. */
export function organisationUsage(
  db: Database,
  options: { store: Pick<WorkspaceStore, "ofOrganisation">; sightings: Sightings },
): Usage {
  const { store, sightings } = options;
  return {
    async of(organisationId) {
      const since = sql`now() - ${days} * interval '1 day'`;
      // A machine that ran when the time began counts from there.
      const seconds = sql`extract(epoch from ${usage.endedAt} - greatest(${usage.startedAt}, ${since}))`;
      const awake = await db
        .select({
          email: users.email,
          awakeSeconds: sql<number>`sum(${seconds})::int`,
          vcpuSeconds: sql<number>`sum(${seconds} * ${usage.vcpus})::int`,
        })
        .from(usage)
        .innerJoin(users, eq(users.id, usage.ownerId))
        .where(and(eq(usage.organisationId, organisationId), eq(usage.kind, "awake"), gt(usage.endedAt, since)))
        .groupBy(users.email);
      const people = new Map<string, MemberUsage>();
      const of = (email: string) => {
        const known = people.get(email) ?? { email, workspaces: 0, snapshotBytes: 0, awakeSeconds: 0, vcpuSeconds: 0 };
        people.set(email, known);
        return known;
      };
      for (const { email, ...used } of awake) Object.assign(of(email), used);
      for (const { id, owner } of await store.ofOrganisation(organisationId)) {
        const person = of(owner);
        person.workspaces++;
        person.snapshotBytes += sightings.of(id)?.snapshotBytes ?? 0;
      }
      return [...people.values()].sort((a, b) => (a.email < b.email ? -1 : 1));
    },
  };
}
