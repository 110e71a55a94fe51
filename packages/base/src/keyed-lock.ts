/** Lets one task at a time run for each key; tasks of other keys are not held up. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `task` after every earlier task of this key has ended, however it ended. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const own = before.then(task, task);
    const tail = own.catch(() => {
      // The caller hears of it through `own`; the next task only waits for the end.
    });
    this.#tails.set(key, tail);
    try {
      return await own;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
