/** What is open, and whether it may go on. */
export interface OpenConnections extends Disposable {
  /**
   * Looks after a connection until the answer is called: when `mayGoOn` says no, `end` is called.
   * @param key the same for connections that may go on or not together; they share a question.
   */
  add(connection: { key: string; mayGoOn: () => Promise<boolean>; end: () => void }): () => void;
}

/** What is revoked is closed within this time, and the time that control takes to answer. */
const lookMs = 2_000;
const questionsAtOnce = 32;

/** Looks after open connections. A question that fails, since control restarts for example, ends nothing. */
export function createOpenConnections(): OpenConnections {
  const groups = new Map<string, { mayGoOn: () => Promise<boolean>; ends: Set<() => void> }>();
  let isLooking = false;

  async function look(): Promise<void> {
    if (isLooking) return;
    isLooking = true;
    try {
      const all = [...groups.entries()];
      for (let at = 0; at < all.length; at += questionsAtOnce) {
        await Promise.all(
          all.slice(at, at + questionsAtOnce).map(async ([key, group]) => {
            if (await group.mayGoOn().catch(() => true)) return;
            groups.delete(key);
            for (const end of group.ends) end();
          }),
        );
      }
    } finally {
      isLooking = false;
    }
  }
  const timer = setInterval(() => void look(), lookMs);
  timer.unref();

  return {
    add({ key, mayGoOn, end }) {
      const group = groups.get(key) ?? { mayGoOn, ends: new Set() };
      groups.set(key, group);
      group.ends.add(end);
      return () => {
        group.ends.delete(end);
        if (group.ends.size === 0 && groups.get(key) === group) groups.delete(key);
      };
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
