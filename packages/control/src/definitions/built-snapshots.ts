import type { SnapshotRef } from "@dormouse/contract";
import { type HostConnection, remote } from "../host/client.ts";
import type { BuildStore } from "./build-store.ts";

/** Snapshots of machines that something was built in, by all that went into them. */
export interface BuiltSnapshots {
  /** Under the last of these keys that has something which its host still has. */
  find(keys: readonly string[]): Promise<{ key: string; snapshot: SnapshotRef } | undefined>;
  /** Keeps what a builder has come to; `name` is for people. */
  keep(options: { key: string; builderId: string; name: string; signal: AbortSignal }): Promise<SnapshotRef>;
}

/** The {@link BuiltSnapshots} of a host. */
export function createBuiltSnapshots({
  host,
  store,
}: {
  host: HostConnection;
  store: Pick<BuildStore, "find" | "forget" | "save">;
}): BuiltSnapshots {
  return {
    async find(keys) {
      for (;;) {
        const found = await store.find(keys);
        if (!found) return undefined;
        const { workspaceId, id } = found.snapshot;
        const { snapshots } = await remote(host.calls.snapshots.list({ workspaceId }));
        if (snapshots.some((snapshot) => snapshot.id === id)) return found;
        await store.forget(found.key);
      }
    },
    async keep({ key, builderId, name, signal }) {
      const taken = { workspaceId: builderId, generation: 1, reason: "fork" as const, name: name.slice(0, 100) };
      const { id } = await remote(host.calls.machines.snapshot(taken, { signal }));
      const snapshot = { workspaceId: builderId, id };
      await store.save(key, snapshot);
      return snapshot;
    },
  };
}
