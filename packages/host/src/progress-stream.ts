import type { Progress } from "@dormouse/base";
import type { HostProgress } from "@dormouse/contract";

/**
 * Runs something long and yields how far it is, the newest line of what came since the last; returns its result. Whoever
 * stops listening ends the work.
 */
export async function* progressStream<T>(
  work: (progress: Progress, signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): AsyncGenerator<HostProgress, T> {
  const stop = new AbortController();
  let newest: HostProgress | undefined;
  let notify = () => {};
  let isOver = false;
  const result = work(
    ({ step, message, fraction, state }) => {
      // What failed is told by the error.
      if (state === "failed") return;
      newest = { step, message, ...(fraction !== undefined && { fraction }) };
      notify();
    },
    signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
  ).finally(() => {
    isOver = true;
    notify();
  });
  // Its failure is told by the await below, which may come later.
  result.catch(() => {});
  try {
    while (!isOver || newest) {
      if (!newest) {
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
      if (newest) {
        const line = newest;
        newest = undefined;
        yield line;
      }
    }
    return await result;
  } finally {
    stop.abort();
  }
}
