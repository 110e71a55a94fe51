import { type DormouseError, sleep } from "@dormouse/base";
import type { ObjectStore } from "@dormouse/storage";

/** An object store as one is far away: each request takes a while, and all share one line. May be changed at any time. */
export interface Distance {
  latencyMs: number;
  bytesPerSecond: number;
  /** What every request for a part of an object fails with. */
  error?: DormouseError | undefined;
  /** Requests for parts of objects, and the bytes that they brought. */
  requests: number;
  bytes: number;
}

/** Puts a store at a distance. */
export function atDistance(objects: ObjectStore, distance: Distance): ObjectStore {
  let freeMs = 0;
  return {
    ...objects,
    async get(key, options = {}) {
      const { signal } = options;
      await sleep(distance.latencyMs, signal);
      if (distance.error) throw distance.error;
      const content = await objects.get(key, options);
      distance.requests++;
      distance.bytes += content.length;
      const nowMs = performance.now();
      freeMs = Math.max(freeMs, nowMs) + (content.length / distance.bytesPerSecond) * 1000;
      if (freeMs > nowMs) await sleep(freeMs - nowMs, signal);
      return content;
    },
  };
}

/** At no distance at all. */
export function nearby(): Distance {
  return { latencyMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, requests: 0, bytes: 0 };
}
