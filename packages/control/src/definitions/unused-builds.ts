import { DormouseError, type Logger, sleep } from "@dormouse/base";
import { type HostConnection, remote } from "../host/client.ts";
import type { BuildStore } from "./build-store.ts";

/** What {@link removeUnusedBuilds} works with. */
export interface UnusedBuildsOptions {
  store: Pick<BuildStore, "forgetUnused" | "unused" | "forget">;
  host: HostConnection;
  unusedForMs: number;
  log: Logger;
  signal: AbortSignal;
}

const everyMs = 3_600_000;

/**
 * Removes what was built and has not been started from for long, with its snapshots on the host, unless a workspace would
 * still start from it. What is asked for again is built again.
 * @returns how many snapshots are gone.
 */
export async function removeUnusedBuilds(options: UnusedBuildsOptions): Promise<number> {
  const { store, host, unusedForMs, log, signal } = options;
  const before = new Date(Date.now() - unusedForMs);
  await store.forgetUnused(before);
  let removed = 0;
  for (const { key, snapshot } of await store.unused(before)) {
    signal.throwIfAborted();
    // The snapshot first: a row without one is found out and forgotten, a snapshot without a row would stay for ever.
    await remote(host.calls.snapshots.delete(snapshot, { signal })).catch((error: unknown) => {
      if (DormouseError.from(error).code !== "not_found") throw error;
    });
    await store.forget(key);
    removed++;
  }
  if (removed > 0) log.info("builds that nobody used were removed", { snapshots: removed });
  return removed;
}

/** Does it again and again, until the signal aborts. */
export async function keepRemovingUnusedBuilds(options: UnusedBuildsOptions): Promise<void> {
  const { log, signal } = options;
  while (!signal.aborted) {
    await sleep(everyMs, signal).catch(() => {
      // Aborted: the loop's condition sees it.
    });
    if (signal.aborted) return;
    await removeUnusedBuilds(options).catch((error: unknown) => {
      if (!signal.aborted) log.warn("builds that nobody used were left", { error });
    });
  }
}
