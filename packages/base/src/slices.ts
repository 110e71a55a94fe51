/** How long one slice of a long walk holds its thread, before what else waits has its turn. */
const sliceMs = 8;

/**
 * Call what this gives in a long loop of short synchronous steps: now and then it lets everything else go first.
 * @param othersFirst resolves once all else has had its turn.
 */
export function slices(othersFirst: () => Promise<unknown>, signal?: AbortSignal): () => Promise<void> | undefined {
  let startedMs = performance.now();
  return () => {
    signal?.throwIfAborted();
    if (performance.now() - startedMs < sliceMs) return undefined;
    return othersFirst().then(() => {
      startedMs = performance.now();
    });
  };
}
