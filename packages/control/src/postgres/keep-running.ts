import { sleep } from "@dormouse/base";
import { isAlive } from "./postmaster.ts";
import { type EmbeddedPostgres, type PostgresOptions, startPostgres } from "./start.ts";

export type { EmbeddedPostgres };

const lookMs = 250;
/** Processes of a server that was killed hold its files a moment longer. */
const retryMs = 500;

/**
 * {@link startPostgres}, and again whenever the server ends without being asked to. Its address stays the same, so that
 * whoever holds connections finds it again.
 */
export async function keepPostgresRunning(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options;
  let server = await startPostgres(options);
  const stopping = new AbortController();
  const { signal } = stopping;

  async function startAgain(): Promise<void> {
    log.error("PostgreSQL ended by itself and is started again", { pid: server.pid });
    while (!signal.aborted) {
      try {
        server = await startPostgres(options);
        return;
      } catch (error) {
        log.warn("PostgreSQL did not come up", { error });
        await pause(retryMs);
      }
    }
  }

  /** Ends early, and without an error, when all ends. */
  const pause = (ms: number) => sleep(ms, signal).catch(() => {});

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      await pause(lookMs);
      if (!signal.aborted && !isAlive(server.pid)) await startAgain();
    }
  }

  const watching = watch();
  const stop = async () => {
    stopping.abort();
    await watching;
    await server.stop();
  };
  return {
    url: server.url,
    get pid() {
      return server.pid;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
