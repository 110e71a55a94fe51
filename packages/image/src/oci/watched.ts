import { sleep } from "@dormouse/base";

/**
 * Runs `work` and, again and again meanwhile, `check`. What `check` throws ends the work, by its signal,
 * and is what the caller gets.
 */
export async function watched<T>(
  options: { intervalMs: number; check: () => Promise<void>; signal?: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const [stop, finished] = [new AbortController(), new AbortController()];
  const watch = async () => {
    try {
      for (;;) {
        await sleep(options.intervalMs, finished.signal);
        await options.check();
      }
    } catch (error) {
      if (!finished.signal.aborted) stop.abort(error);
    }
  };
  const watching = watch();
  try {
    return await work(options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal);
  } catch (error) {
    if (stop.signal.aborted) throw stop.signal.reason;
    throw error;
  } finally {
    finished.abort();
    await watching;
  }
}
