import { KeyedLock, type Logger } from "@dormouse/base";

/** Work in workspaces that nobody waits for: for each workspace one after the other. */
export interface Background {
  run(workspaceId: string, work: (signal: AbortSignal) => Promise<void>): void;
  /** Ends all of it and waits. */
  stop(reason: unknown): Promise<void>;
}

/** Makes {@link Background}. What fails is logged: whatever somebody is to know of it, the work itself writes down. */
export function createBackground(log: Logger): Background {
  const lock = new KeyedLock();
  const ending = new AbortController();
  const pending = new Set<Promise<void>>();
  const { signal } = ending;
  return {
    run(workspaceId, work) {
      const done = lock
        .run(workspaceId, async () => {
          signal.throwIfAborted();
          await work(signal);
        })
        .catch((error: unknown) => log.info("steps were not run to their end", { workspaceId, error }))
        .finally(() => pending.delete(done));
      pending.add(done);
    },
    async stop(reason) {
      ending.abort(reason);
      await Promise.allSettled(pending);
    },
  };
}
