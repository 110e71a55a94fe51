import type { Logger } from "@dormouse/base";

/** What {@link WarmPool} keeps. */
export interface PoolOptions<T> {
  /** How many to keep ready; 0 turns the pool off. */
  size: number;
  /** How long after a {@link WarmPool.take} refilling begins: whoever took one has work for the processor first. */
  refillDelayMs: number;
  /** Gives up, leaving nothing behind, when the signal aborts. */
  make(signal: AbortSignal): Promise<T>;
  discard(item: T): Promise<void>;
  log: Logger;
}

const retryDelayMs = 5_000;

/**
 * Keeps a number of things ready that take time to make. Refills one at a time in the
 * background, so that the refilling takes no more than one core from those who work.
 */
export class WarmPool<T> {
  readonly #options: PoolOptions<T>;
  readonly #ready: T[] = [];
  #refilling: Promise<void> | undefined;
  #later: NodeJS.Timeout | undefined;
  readonly #closing = new AbortController();

  constructor(options: PoolOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#options.size;
  }

  get ready(): number {
    return this.#ready.length;
  }

  /** The one that waited longest, or undefined: an empty pool costs only the restore. */
  take(): T | undefined {
    const item = this.#ready.shift();
    if (item !== undefined) this.#refillIn(this.#options.refillDelayMs);
    return item;
  }

  /** Takes out one that is no longer good, e.g. because its process died. */
  remove(item: T): void {
    const index = this.#ready.indexOf(item);
    if (index >= 0) this.#ready.splice(index, 1);
    this.refill();
  }

  /** Starts refilling when something is missing and no pause is under way; returns at once. */
  refill(): void {
    if (this.#closing.signal.aborted || this.#refilling || this.#later || this.#ready.length >= this.#options.size)
      return;
    this.#refilling = this.#fill().finally(() => {
      this.#refilling = undefined;
    });
  }

  /** Resolves when nothing is being made at the moment. */
  async settled(): Promise<void> {
    await this.#refilling;
  }

  /** Stops refilling and discards what is ready. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#later);
    await this.#refilling;
    await Promise.all(this.#ready.splice(0).map((item) => this.#options.discard(item)));
  }

  async #fill(): Promise<void> {
    while (!this.#closing.signal.aborted && this.#ready.length < this.#options.size) {
      try {
        this.#ready.push(await this.#options.make(this.#closing.signal));
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#options.log.warn("pool could not be refilled", { error });
        this.#refillIn(retryDelayMs);
        return;
      }
    }
  }

  /** Every call begins the pause anew. */
  #refillIn(delayMs: number): void {
    clearTimeout(this.#later);
    if (this.#closing.signal.aborted) return;
    this.#later = setTimeout(() => {
      this.#later = undefined;
      this.refill();
    }, delayMs);
    this.#later.unref();
  }
}
