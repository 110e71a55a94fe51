import { DormouseError } from "@dormouse/base";
import type { ObjectStore } from "../object-store.ts";

/** A store that fails once, and what it has been asked so far. */
export interface FailingStore extends ObjectStore {
  /** Operations so far. */
  readonly operations: number;
  /** Whether the failure has happened. */
  readonly hasFailed: boolean;
}

/**
 * Passes everything on to a real store, except the operation of number `failAt` (from 1),
 * which fails as a broken disk does. `when` says whether it does so before anything
 * happened, or, like a cut connection, after everything did; a put may also fail in the
 * middle of its body.
 */
export function createFailingStore(
  inner: ObjectStore,
  failAt: number,
  when: "before" | "middle" | "after",
): FailingStore {
  let operations = 0;
  let hasFailed = false;
  const failure = () => {
    hasFailed = true;
    return new DormouseError("unavailable", `operation ${failAt} failed ${when} it was done: EIO`);
  };
  async function pass<T>(work: () => Promise<T>): Promise<T> {
    const isChosen = ++operations === failAt;
    if (isChosen && when !== "after") throw failure();
    const result = await work();
    if (isChosen) throw failure();
    return result;
  }
  return {
    name: `failing ${inner.name}`,
    get operations() {
      return operations;
    },
    get hasFailed() {
      return hasFailed;
    },
    put(key, body, options) {
      if (when !== "middle" || operations + 1 !== failAt) return pass(() => inner.put(key, body, options));
      operations++;
      const broken = async function* () {
        yield* body instanceof Uint8Array ? [body.subarray(0, body.length / 2)] : firstOf(body);
        throw failure();
      };
      return inner.put(key, broken(), options);
    },
    get: (key, options) => pass(() => inner.get(key, options)),
    stat: (key, options) => pass(() => inner.stat(key, options)),
    remove: (keys, options) => pass(() => inner.remove(keys, options)),
    async *list(prefix, options) {
      await pass(async () => {});
      yield* inner.list(prefix, options);
    },
  };
}

async function* firstOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    yield piece;
    return;
  }
}
