/** Collects what must be given back and gives it back in reverse order, every one, also when some fail. */
export interface Disposer extends AsyncDisposable {
  /** Registers a clean-up; returns a function that runs it early, once. */
  add(cleanUp: () => void | Promise<void>): () => Promise<void>;
  /** Keeps everything: nothing registered so far will be cleaned up. */
  release(): void;
}

/** Makes an empty {@link Disposer}. Errors of clean-ups are gathered into one AggregateError. */
export function disposer(): Disposer {
  let cleanUps: (() => void | Promise<void>)[] = [];
  return {
    add(cleanUp) {
      cleanUps.push(cleanUp);
      return async () => {
        const index = cleanUps.indexOf(cleanUp);
        if (index < 0) return;
        cleanUps.splice(index, 1);
        await cleanUp();
      };
    },
    release() {
      cleanUps = [];
    },
    async [Symbol.asyncDispose]() {
      const errors: unknown[] = [];
      for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) {
        try {
          await cleanUp();
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length === 1) throw errors[0];
      if (errors.length > 1) throw new AggregateError(errors, `${errors.length} clean-ups failed`);
    },
  };
}
