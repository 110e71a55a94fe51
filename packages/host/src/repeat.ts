import { sleep } from "@dormouse/base";

/** Does `work` again and again, with a pause between, until the signal aborts. A failure is told, and the next round comes. */
export async function repeat(
  pauseMs: number,
  work: () => Promise<void>,
  options: { signal: AbortSignal; onError: (error: unknown) => void },
): Promise<void> {
  const { signal, onError } = options;
  while (!signal.aborted) {
    await sleep(pauseMs, signal).catch(() => {
      // Aborted: the loop's condition sees it.
    });
    if (signal.aborted) return;
    await work().catch((error: unknown) => {
      if (!signal.aborted) onError(error);
    });
  }
}
