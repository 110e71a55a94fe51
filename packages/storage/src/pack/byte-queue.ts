/**
 * Bytes on their way from a producer to a consumer, at most about `maxBytes` at once: a
 * push resolves when there is room again, so that whoever awaits it goes no faster than
 * the consumer.
 */
export interface ByteQueue extends AsyncIterable<Uint8Array> {
  /** @throws what {@link fail} was called with, also while waiting for room. */
  push(bytes: Uint8Array): Promise<void>;
  /** Nothing more will come. */
  end(): void;
  /** Ends both sides with an error; what is queued is dropped. */
  fail(error: unknown): void;
}

/** An empty {@link ByteQueue}, for one producer and one consumer. */
export function createByteQueue(maxBytes: number): ByteQueue {
  let pieces: Uint8Array[] = [];
  let queuedBytes = 0;
  let isEnded = false;
  let failure: { error: unknown } | undefined;
  let wakers: (() => void)[] = [];
  const wake = () => {
    const waiting = wakers;
    wakers = [];
    for (const waker of waiting) waker();
  };
  const assertWhole = () => {
    if (failure) throw failure.error;
  };
  const change = () => new Promise<void>((resolve) => wakers.push(resolve));
  return {
    async push(bytes) {
      assertWhole();
      pieces.push(bytes);
      queuedBytes += bytes.length;
      wake();
      while (queuedBytes > maxBytes) {
        await change();
        assertWhole();
      }
    },
    end() {
      isEnded = true;
      wake();
    },
    fail(error) {
      failure ??= { error };
      pieces = [];
      queuedBytes = 0;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        assertWhole();
        const piece = pieces.shift();
        if (piece) {
          queuedBytes -= piece.length;
          wake();
          yield piece;
        } else {
          if (isEnded) return;
          await change();
        }
      }
    },
  };
}
