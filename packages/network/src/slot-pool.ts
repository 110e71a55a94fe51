import { DormouseError, sleep } from "@dormouse/base";
import type { EgressEngine } from "./egress/engine.ts";
import { openHostNetwork } from "./host-network.ts";
import { formatIpv4Range } from "./ipv4.ts";
import { type Slot, type SlotPlan, slotAt } from "./slot.ts";
import {
  attachFilter,
  destroySlots,
  existingSlotIndexes,
  prepareSlots,
  slotIsPresent,
  slotIsWhole,
} from "./slot-kernel.ts";
import { checkSlotPoolOptions, type SlotPoolOptions } from "./slot-pool-options.ts";

/** Slots made by one `ip` and one shell: large enough to share their start, small enough that waiters go on soon. */
const prepareBatch = 16;
/** Deleting is cheap and gets cheaper together. */
const destroyBatch = 256;
const allocateTimeoutMs = 30_000;
const firstRetryDelayMs = 100;
const maxRetryDelayMs = 10_000;
/** After so many failures in a row, whoever waits is told why. */
const failuresUntilRejected = 3;

/** Networks for machines, prepared ahead so that taking one costs nothing. */
export interface SlotPool {
  /** The range in use, in CIDR form. */
  readonly addressPool: string;
  /** What may leave slots. One that nobody has given a policy reaches nothing, and can be reached by the host. */
  readonly egress: Pick<
    EgressEngine,
    "setPolicy" | "setSecrets" | "certificate" | "clear" | "count" | "test" | "onRefused" | "pids" | "filterFolder"
  >;
  /** Numbers for people and metrics: `free` can still be prepared, `leftover` waits for adopt or reclaim. */
  counts(): { prepared: number; allocated: number; leftover: number; releasing: number; free: number };
  /**
   * Takes a prepared slot, in constant time; waits when the pool is being refilled.
   * @param options.timeoutMs how long to wait, default 30 s.
   * @throws DormouseError `resource_exhausted` naming the limit when all slots are taken, `deadline_exceeded` when
   *   refilling takes too long, `unavailable` with the reason when it keeps failing, `cancelled` by the signal.
   */
  allocate(options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<Slot>;
  /**
   * Gives a slot back: its namespace is deleted with all that is in it and made anew before anyone gets it again.
   * Resolves when it is gone. A slot that is not allocated, or not any more, is left alone.
   */
  release(slot: Slot): Promise<void>;
  /**
   * Takes over a slot that an earlier process allocated and that a machine still uses. Its policy is to be set again.
   * @throws DormouseError `not_found` when the kernel does not have it whole, `already_exists` when it is allocated.
   */
  adopt(index: number): Promise<Slot>;
  /** Deletes what earlier processes left and was not adopted, except these; returns how many slots that were. */
  reclaim(exceptIndexes: Iterable<number>): Promise<number>;
  /**
   * Ends the pool. Slots to keep stay as they are, with the host's rules, for a next process to adopt; all other
   * slots of the platform are deleted, and the host's rules too when none is kept.
   */
  close(options?: { keep?: Iterable<number> }): Promise<void>;
}

interface Release {
  slot: Slot;
  resolve(): void;
  reject(error: unknown): void;
}

interface Waiter {
  resolve(slot: Slot): void;
  reject(error: DormouseError): void;
}

/**
 * Opens the pool of one platform on this machine. Needs root. Preparing begins at once, in the background; what
 * earlier processes left in the kernel under this prefix is not touched until it is adopted or reclaimed.
 * @throws DormouseError `invalid_argument` naming a setting, `failed_precondition` when another process manages this
 *   prefix or the address range is in use.
 */
export async function createSlotPool(options: SlotPoolOptions): Promise<SlotPool> {
  checkSlotPoolOptions(options);
  const { namePrefix, max, logger } = options;
  const leftover = await existingSlotIndexes(namePrefix);
  const host = await openHostNetwork({
    ...options,
    addressPool: options.addressPool,
    resolver: options.resolver,
    cacheDir: options.cacheDir ?? process.env.DORMOUSE_CACHE ?? "/var/cache/dormouse",
    slotsExist: leftover.size > 0,
  });
  const plan: SlotPlan = { namePrefix, range: host.range, uidBase: options.uidBase };
  // Names slots beyond the end of the range too, which a process with a larger one may have left.
  const anyIndex: SlotPlan = { ...plan, range: { network: 0, prefixLength: 0 } };

  const prepared: Slot[] = [];
  const allocated = new Map<number, Slot>();
  const waiters = new Set<Waiter>();
  /** Indexes nobody uses, the next one last. */
  const free: number[] = [];
  for (let index = max - 1; index >= 0; index--) if (!leftover.has(index)) free.push(index);
  const releases: Release[] = [];
  let releasing = 0;
  let preparing = 0;
  const stop = new AbortController();
  let worker: Promise<void> | undefined;

  const missing = () => Math.min(options.size + waiters.size - prepared.length, free.length);
  const hasWork = () => releases.length > 0 || (!stop.signal.aborted && missing() > 0);
  const wake = () => {
    worker ??= work().finally(() => {
      worker = undefined;
      if (hasWork()) wake();
    });
  };
  /** All changes in the kernel are made here, one after another. */
  const work = async () => {
    let failures = 0;
    // Lets everything that a caller asks for in a row come into one batch.
    await Promise.resolve();
    while (hasWork()) {
      if (releases.length > 0) {
        await destroyReleased(releases.splice(0, destroyBatch));
        continue;
      }
      // After a failure one by one, so that a single bad index holds up nobody else.
      const indexes = free.splice(-Math.min(missing(), failures > 0 ? 1 : prepareBatch)).reverse();
      failures = (await prepare(indexes, failures)) ? 0 : failures + 1;
      if (failures > 0) {
        const delayMs = Math.min(maxRetryDelayMs, firstRetryDelayMs * 2 ** failures);
        // Only the end of the pool wakes it early, and the loop's condition sees that.
        await sleep(delayMs, stop.signal).catch(() => {});
      }
    }
  };
  const prepare = async (indexes: number[], failuresBefore: number): Promise<boolean> => {
    preparing = indexes.length;
    try {
      const slots = indexes.map((index) => slotAt(plan, index));
      await prepareSlots(slots, host.egress.filterFolder, logger);
      for (const slot of slots) offer(slot);
      return true;
    } catch (error) {
      free.unshift(...indexes);
      logger.error("network slots could not be prepared", { indexes, failuresBefore, error });
      if (failuresBefore + 1 >= failuresUntilRejected) rejectWaiters(error);
      return false;
    } finally {
      preparing = 0;
    }
  };
  const offer = (slot: Slot) => {
    const [waiter] = waiters;
    if (!waiter) {
      prepared.push(slot);
      return;
    }
    waiters.delete(waiter);
    allocated.set(slot.index, slot);
    waiter.resolve(slot);
  };
  const rejectWaiters = (cause: unknown) => {
    const message = `no network slot can be prepared: ${DormouseError.from(cause).message}`;
    for (const waiter of waiters) waiter.reject(new DormouseError("unavailable", message, { cause }));
    waiters.clear();
  };
  const release = (slot: Slot): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    releases.push({ slot, resolve, reject });
    releasing++;
    wake();
    return promise;
  };
  const destroyReleased = async (batch: readonly Release[]) => {
    const slots = batch.map(({ slot }) => slot);
    // Before anyone gets them anew, and sets a policy of their own.
    await Promise.all(slots.map(({ index }) => host.egress.clear(index))).catch((error: unknown) => {
      // The filter goes with the tap, and without one nothing passes.
      logger.warn("policies of released slots could not be cleared", { error });
    });
    const failure = await destroySlots(slots, logger).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    releasing -= batch.length;
    for (const { slot, resolve, reject } of batch) {
      if (failure && slotIsPresent(slot)) {
        // The index stays out of use until a reclaim has deleted what is left of it.
        leftover.add(slot.index);
        reject(failure.error);
      } else {
        // A process before this one may have had more slots.
        if (slot.index < max) free.push(slot.index);
        resolve();
      }
    }
  };

  const pool: SlotPool = {
    addressPool: formatIpv4Range(host.range),
    egress: host.egress,
    counts: () => ({
      prepared: prepared.length,
      allocated: allocated.size,
      leftover: leftover.size,
      releasing,
      free: free.length + preparing,
    }),
    allocate({ signal, timeoutMs = allocateTimeoutMs } = {}) {
      if (stop.signal.aborted) return Promise.reject(closedError());
      if (signal?.aborted) return Promise.reject(DormouseError.from(signal.reason, "cancelled"));
      const slot = prepared.pop();
      if (slot) {
        allocated.set(slot.index, slot);
        wake();
        return Promise.resolve(slot);
      }
      if (waiters.size >= preparing + releasing + free.length) {
        const message = `all ${max} network slots are taken (max is ${max})`;
        return Promise.reject(new DormouseError("resource_exhausted", message, { details: { max } }));
      }
      const { promise, resolve, reject } = Promise.withResolvers<Slot>();
      const waiter: Waiter = { resolve, reject };
      const giveUp = (error: DormouseError) => {
        if (waiters.delete(waiter)) reject(error);
      };
      const message = `no network slot was prepared within ${timeoutMs} ms`;
      const timer = setTimeout(() => giveUp(new DormouseError("deadline_exceeded", message)), timeoutMs);
      const onAbort = () => giveUp(DormouseError.from(signal?.reason, "cancelled"));
      signal?.addEventListener("abort", onAbort, { once: true });
      waiters.add(waiter);
      wake();
      return promise.finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      });
    },
    release(slot) {
      if (allocated.get(slot.index) !== slot) return Promise.resolve();
      allocated.delete(slot.index);
      return release(slot);
    },
    async adopt(index) {
      const slot = slotAt(plan, index);
      if (allocated.has(index)) throw new DormouseError("already_exists", `slot ${slot.namespace} is allocated`);
      if (!leftover.has(index) || !slotIsWhole(slot)) {
        throw new DormouseError("not_found", `there is no slot ${slot.namespace} with ${slot.hostAddress} to adopt`);
      }
      leftover.delete(index);
      allocated.set(index, slot);
      await attachFilter(slot, host.egress.filterFolder);
      return slot;
    },
    async reclaim(exceptIndexes) {
      const except = new Set(exceptIndexes);
      const indexes = [...leftover].filter((index) => !except.has(index));
      for (const index of indexes) leftover.delete(index);
      const results = await Promise.allSettled(indexes.map((index) => release(slotAt(anyIndex, index))));
      const failed = results.find((result) => result.status === "rejected");
      await host.egress.retain([...allocated.keys(), ...except]);
      if (failed) throw failed.reason;
      return indexes.length;
    },
    close({ keep = [] } = {}) {
      closing ??= close(new Set(keep));
      return closing;
    },
  };
  let closing: Promise<void> | undefined;
  const close = async (keep: ReadonlySet<number>) => {
    stop.abort(closedError());
    for (const waiter of waiters) waiter.reject(closedError());
    waiters.clear();
    while (worker) await worker;
    const indexes = [...(await existingSlotIndexes(namePrefix))];
    const unwanted = indexes.filter((index) => !keep.has(index)).map((index) => slotAt(anyIndex, index));
    try {
      for (let start = 0; start < unwanted.length; start += destroyBatch) {
        await destroySlots(unwanted.slice(start, start + destroyBatch), logger);
      }
    } finally {
      await host.close({ keepRules: indexes.some((index) => keep.has(index)) });
    }
  };
  wake();
  return pool;
}

function closedError(): DormouseError {
  return new DormouseError("failed_precondition", "the pool of network slots is closed");
}
