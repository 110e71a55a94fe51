import { browserStorage } from "@dormouse/contract";
import { createStore, del, get, set, update } from "idb-keyval";
import type { RememberedFile, RememberedStore } from "./remembered-files.ts";

/** Of how many workspaces something is kept; those opened last. */
const maxWorkspaces = 10;
const orderKey = "order";

/** What is remembered of a workspace's files, in this browser. */
export function rememberedStore(workspaceId: string): RememberedStore {
  const store = createStore(browserStorage.rememberedFiles, "workspaces");
  return {
    load: async () => (await get<[string, RememberedFile][]>(workspaceId, store)) ?? [],
    async save(files) {
      await set(workspaceId, files, store);
      let forgotten: string[] = [];
      await update<string[]>(
        orderKey,
        (order = []) => {
          const latest = [workspaceId, ...order.filter((id) => id !== workspaceId)];
          forgotten = latest.slice(maxWorkspaces);
          return latest.slice(0, maxWorkspaces);
        },
        store,
      );
      for (const id of forgotten) await del(id, store);
    },
  };
}
