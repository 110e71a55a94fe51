import type { WorkspaceEvent } from "@dormouse/contract";

/** Tells who follows a workspace what happens to it. The database stays the truth: what is missed is read there. */
export interface Changes {
  publish(workspaceId: string, event: WorkspaceEvent): void;
  /** Ends when the signal aborts, or after `deleted`. From the call on, not from the first `next()`, nothing is missed. */
  follow(workspaceId: string, signal?: AbortSignal): AsyncGenerator<WorkspaceEvent, void>;
}

/** A follower that is this far behind is told states only: the last one, which is all it needs. */
const backlog = 256;

/** Changes within this process. */
export function createChanges(): Changes {
  const followers = new Map<string, Set<(event: WorkspaceEvent) => void>>();
  return {
    publish(workspaceId, event) {
      for (const receive of followers.get(workspaceId) ?? []) receive(event);
    },
    follow(workspaceId, signal) {
      const queue: WorkspaceEvent[] = [];
      let wake = () => {};
      const receive = (event: WorkspaceEvent) => {
        if (queue.length >= backlog) queue.splice(0, queue.length, ...queue.filter(isState).slice(-1));
        queue.push(event);
        wake();
      };
      const all = followers.get(workspaceId) ?? new Set();
      followers.set(workspaceId, all.add(receive));
      const stop = () => {
        all.delete(receive);
        if (all.size === 0 && followers.get(workspaceId) === all) followers.delete(workspaceId);
        wake();
      };
      signal?.addEventListener("abort", stop, { once: true });
      return (async function* () {
        try {
          while (!signal?.aborted) {
            const event = queue.shift();
            if (event) {
              yield event;
              if (event.type === "deleted") return;
            } else {
              await new Promise<void>((resolve) => {
                wake = resolve;
              });
            }
          }
        } finally {
          signal?.removeEventListener("abort", stop);
          stop();
        }
      })();
    },
  };
}

function isState(event: WorkspaceEvent): boolean {
  return event.type === "state";
}
