import { sleep } from "@dormouse/base";

/** A guest is quiet when it uses less than this share of a processor in so many looks one after the other. */
const quietShare = 0.1;
const lookMs = 100;
const quietInARow = 5;
const maxLooks = 100;

/**
 * Waits until a guest has done what it still had to do, at most ten seconds. What it is in the middle of when it is
 * stopped, it goes on with whenever it starts again, beside the first request: after a warm-up half a second of work,
 * in emulation. `cpuMs` tells the processor time it has used, in milliseconds.
 */
export async function waitUntilQuiet(cpuMs: () => Promise<number>, signal?: AbortSignal): Promise<void> {
  let beforeMs = await cpuMs();
  for (let look = 0, quiet = 0; look < maxLooks && quiet < quietInARow; look++) {
    await sleep(lookMs, signal);
    const nowMs = await cpuMs();
    quiet = nowMs - beforeMs < lookMs * quietShare ? quiet + 1 : 0;
    beforeMs = nowMs;
  }
}
