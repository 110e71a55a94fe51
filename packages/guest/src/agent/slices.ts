import { setImmediate } from "node:timers/promises";

/** How long one slice of a long walk holds the agent, before what else waits has its turn. */
const sliceMs = 8;

/** Call it in a long loop of short synchronous steps: now and then it lets everything else go first. */
export function slices(signal?: AbortSignal): () => Promise<void> | undefined {
  let startedMs = performance.now();
  return () => {
    signal?.throwIfAborted();
    if (performance.now() - startedMs < sliceMs) return undefined;
    return setImmediate().then(() => {
      startedMs = performance.now();
    });
  };
}
