const maxQueued = 10_000;

/** Hands every published event to every follower; a follower that does not keep up is cut off instead of growing. */
export class Watchers<T> {
  readonly #followers = new Set<(event: T | undefined) => void>();

  publish(event: T): void {
    for (const follower of this.#followers) follower(event);
  }

  /** Ends every follower. */
  close(): void {
    for (const follower of this.#followers) follower(undefined);
  }

  /** First what `snapshot` gives, then every event from then on, until the signal or {@link close}. */
  async *follow(snapshot: () => readonly T[], signal?: AbortSignal): AsyncGenerator<T> {
    const queue: T[] = [];
    let ended = false;
    let wake = () => {};
    const follower = (event: T | undefined) => {
      if (event === undefined || queue.length >= maxQueued) ended = true;
      else queue.push(event);
      wake();
    };
    const onAbort = () => follower(undefined);
    this.#followers.add(follower);
    signal?.addEventListener("abort", onAbort);
    try {
      queue.push(...snapshot());
      while (!ended && !signal?.aborted) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.#followers.delete(follower);
      signal?.removeEventListener("abort", onAbort);
    }
  }
}
