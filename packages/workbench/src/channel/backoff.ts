/** The first retry comes quickly: most losses are a service that restarts. */
const firstDelayMs = 200;
/** An open page must notice within seconds that its workspace is back. */
const longestDelayMs = 5_000;

/**
 * The pause before connection attempt number `attempt` (1 is the first retry). It
 * doubles and is spread by up to a quarter, so that many pages do not return at one moment.
 */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const delayMs = Math.min(firstDelayMs * 2 ** (attempt - 1), longestDelayMs);
  return Math.round(delayMs * (0.75 + random() * 0.25));
}
