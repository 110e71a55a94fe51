import type { EgressLayer } from "@dormouse/contract";
import type { EgressLayers } from "@dormouse/network/policy";
import { and, eq, or } from "drizzle-orm";
import type { Database } from "../database/open.ts";
import { egressLayers } from "../database/schema.ts";
import type { WorkspaceRow } from "../workspaces/view.ts";

/** Which layer: see `egressLayers` of the schema. */
export interface LayerKey {
  scope: keyof EgressLayers;
  name: string;
}

/** Layers of egress policies in the database. */
export interface EgressStore {
  get(key: LayerKey): Promise<EgressLayer>;
  /** An empty layer is none. */
  set(key: LayerKey, layer: EgressLayer): Promise<void>;
  /** All that are about a workspace. */
  of(keys: readonly LayerKey[]): Promise<Required<EgressLayers>>;
}

/** The {@link EgressStore} of a database. */
export function egressStore(db: Database): EgressStore {
  const is = ({ scope, name }: LayerKey) => and(eq(egressLayers.scope, scope), eq(egressLayers.name, name));
  return {
    async get(key) {
      const [row] = await db.select().from(egressLayers).where(is(key));
      return row?.layer ?? {};
    },
    async set(key, layer) {
      if (Object.keys(layer).length === 0) {
        await db.delete(egressLayers).where(is(key));
        return;
      }
      await db
        .insert(egressLayers)
        .values({ ...key, layer })
        .onConflictDoUpdate({
          target: [egressLayers.scope, egressLayers.name],
          set: { layer, updatedAt: new Date() },
        });
    },
    async of(keys) {
      const rows = await db
        .select()
        .from(egressLayers)
        .where(or(...keys.map(is)));
      const layers: Required<EgressLayers> = {
        ...{ installation: {}, organisation: {}, template: {}, repository: {}, workspace: {} },
      };
      for (const { scope, layer } of rows) layers[scope] = layer;
      return layers;
    },
  };
}

/** The layers that are about a workspace, or about a repository without one. */
export function layerKeysOf(
  about:
    | Pick<WorkspaceRow, "id" | "organisationId" | "template" | "definition" | "repository">
    | { organisationId: string; repository: string },
): LayerKey[] {
  const { organisationId, repository } = about;
  return [
    { scope: "installation", name: "" },
    { scope: "organisation", name: organisationId },
    ...("id" in about
      ? [{ scope: "template" as const, name: about.definition?.template?.name ?? about.template }]
      : []),
    ...(repository === null ? [] : [{ scope: "repository" as const, name: repository }]),
    ...("id" in about ? [{ scope: "workspace" as const, name: about.id }] : []),
  ];
}
