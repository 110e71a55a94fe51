import type { EgressMode, EgressPolicy } from "@dormouse/contract";
import { type EgressLayers, mergeLayers } from "@dormouse/network/policy";
import type { WorkspaceRow } from "../workspaces/view.ts";
import { type EgressStore, type LayerKey, layerKeysOf } from "./store.ts";

/** What may leave a workspace, out of all layers that are about it. */
export interface EgressPolicies {
  /** As hosts enforce it. */
  of(row: WorkspaceRow): Promise<EgressPolicy>;
  /** Of what the platform does for an organisation's repository without a workspace. */
  ofRepository(about: { organisationId: string; repository: string }): Promise<EgressPolicy>;
  layers(row: WorkspaceRow): Promise<Required<EgressLayers>>;
  /** A fork goes on from where its parent is, and may reach what that one may. */
  inherit(parentId: string, id: string): Promise<void>;
  /** The workspace is gone. */
  forget(id: string): Promise<void>;
}

/** @param mode what the installation has unless its layer says otherwise. */
export function egressPolicies(store: EgressStore, mode: EgressMode): EgressPolicies {
  const layersOf = async (keys: readonly LayerKey[]) => {
    const all = await store.of(keys);
    return { ...all, installation: { mode, ...all.installation } };
  };
  const policyOf = async (keys: readonly LayerKey[], repository: string | null) => {
    const { mode: merged, allow, deny, caps } = mergeLayers(await layersOf(keys), repository);
    return { mode: merged, allow: [...allow], deny: [...deny], caps: caps.map((cap) => [...cap]) };
  };
  return {
    layers: (row) => layersOf(layerKeysOf(row)),
    of: (row) => policyOf(layerKeysOf(row), row.repository),
    ofRepository: ({ organisationId, repository }) => policyOf(layerKeysOf({ organisationId, repository }), repository),
    async inherit(parentId, id) {
      const layer = await store.get({ scope: "workspace", name: parentId });
      await store.set({ scope: "workspace", name: id }, layer);
    },
    forget: (id) => store.set({ scope: "workspace", name: id }, {}),
  };
}
