import { DormouseError } from "@dormouse/base";

/** What was put in, and its number, counted from 1. */
export interface Numbered<T> {
  index: number;
  /** The first event that a reader gets has none: it says that it is read to. */
  item?: T;
}

/** Keeps what a page has not taken yet, so that a lost connection loses nothing. */
export interface Outbox<T> {
  /** Whether somebody reads. */
  readonly isFollowed: boolean;
  /** @param make is told the number that it has. */
  push(make: (index: number) => T): void;
  /**
   * What comes after `after`, until the end; what came until then is forgotten.
   * @throws DormouseError `not_found` when more has waited than is kept.
   */
  follow(after: number, signal?: AbortSignal): AsyncGenerator<Numbered<T>>;
  /** What is in it can still be taken. */
  end(): void;
}

/** How an outbox measures what it keeps. */
export interface OutboxOptions<T> {
  maxCharacters: number;
  charactersOf: (item: T) => number;
  /** Said to a reader that comes too late. */
  lost: string;
}

/**
 * So much of what was passed on is kept: a connection that is lost without a word takes along what lies in the buffers on
 * its way, and the reader asks for it again.
 */
const replayCharacters = 8 * 1024 * 1024;

/** An empty one. */
export function createOutbox<T>({ maxCharacters, charactersOf, lost }: OutboxOptions<T>): Outbox<T> {
  let kept: { index: number; item: T; characters: number }[] = [];
  let keptCharacters = 0;
  let lastIndex = 0;
  let isOver = false;
  let isLost = false;
  let followers = 0;
  let wake = Promise.withResolvers<void>();
  let delivered = 0;
  const forgetUntil = (index: number, limit = 0) => {
    while (kept[0] && kept[0].index <= index && keptCharacters > limit) keptCharacters -= kept.shift()?.characters ?? 0;
  };
  const stir = () => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };

  return {
    get isFollowed() {
      return followers > 0;
    },

    push(make) {
      if (isOver || isLost) return;
      const index = ++lastIndex;
      const item = make(index);
      const characters = charactersOf(item);
      keptCharacters += characters;
      kept.push({ index, item, characters });
      if (keptCharacters > maxCharacters) forgetUntil(delivered, maxCharacters);
      if (keptCharacters > maxCharacters) {
        isLost = true;
        kept = [];
      }
      stir();
    },

    async *follow(after, signal) {
      followers++;
      const onAbort = () => stir();
      signal?.addEventListener("abort", onAbort, { once: true });
      let taken = after;
      try {
        forgetUntil(after);
        delivered = after;
        yield { index: after };
        while (!signal?.aborted) {
          if (isLost) throw new DormouseError("not_found", lost);
          const first = kept[0]?.index ?? lastIndex + 1;
          if (taken + 1 < first) throw new DormouseError("not_found", lost);
          const next = kept[taken + 1 - first];
          if (next) {
            yield { index: next.index, item: next.item };
            taken = next.index;
            delivered = Math.max(delivered, taken);
            forgetUntil(delivered, replayCharacters);
          } else if (isOver) return;
          else await wake.promise;
        }
      } finally {
        followers--;
        signal?.removeEventListener("abort", onAbort);
      }
    },

    end() {
      isOver = true;
      stir();
    },
  };
}
