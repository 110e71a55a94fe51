/** A piece of output. `offset` counts all bytes that came before it, on whatever stream. */
export interface OutputPiece<Stream extends string> {
  stream: Stream;
  offset: number;
  bytes: Buffer;
}

/** The latest output of a process, kept for whoever comes later, with any number of readers. */
export interface OutputLog<Stream extends string> {
  append(stream: Stream, bytes: Buffer): void;
  /** The first piece with something at or after `offset`, cut to begin there; undefined at the end. */
  next(offset: number): OutputPiece<Stream> | undefined;
  /** Everything kept of one stream. */
  collect(stream: Stream): Buffer;
  /** Bytes ever appended. */
  readonly endOffset: number;
  /** Whether something of this stream was dropped. */
  hasDropped(stream: Stream): boolean;
  /** Bytes kept in memory. */
  readonly keptBytes: number;
  /** Resolves at the next append or {@link wake}, or when `signal` aborts. */
  changed(signal?: AbortSignal): Promise<void>;
  /** Lets everyone who waits look again: something other than output has changed. */
  wake(): void;
}

/** Small pieces are joined up to this, so that a program that writes bytes does not fill memory with objects. */
const joinedBytes = 16 * 1024;

/**
 * Keeps the last `limitBytes` of each stream. Readers hold an offset and no queue: who reads
 * slowly finds a gap where output was dropped meanwhile, and costs no memory.
 */
export function createOutputLog<Stream extends string>(limitBytes: number): OutputLog<Stream> {
  let pieces: OutputPiece<Stream>[] = [];
  const kept = new Map<Stream, number>();
  const dropped = new Set<Stream>();
  const waiters = new Set<() => void>();
  let endOffset = 0;

  const wake = () => {
    const all = [...waiters];
    waiters.clear();
    for (const waiter of all) waiter();
  };

  const drop = (stream: Stream, surplusBytes: number) => {
    dropped.add(stream);
    let surplus = surplusBytes;
    pieces = pieces.filter((piece) => {
      if (surplus <= 0 || piece.stream !== stream) return true;
      const cut = Math.min(surplus, piece.bytes.length);
      surplus -= cut;
      piece.offset += cut;
      piece.bytes = piece.bytes.subarray(cut);
      return piece.bytes.length > 0;
    });
    kept.set(stream, limitBytes);
  };

  return {
    append(stream, bytes) {
      const last = pieces.at(-1);
      const offset = endOffset;
      endOffset += bytes.length;
      if (last?.stream === stream && last.bytes.length + bytes.length <= joinedBytes) {
        last.bytes = Buffer.concat([last.bytes, bytes]);
      } else {
        pieces.push({ stream, offset, bytes });
      }
      const size = (kept.get(stream) ?? 0) + bytes.length;
      kept.set(stream, size);
      // An eighth more than the limit before anything is dropped: the list is not walked at each append.
      if (size > limitBytes + limitBytes / 8) drop(stream, size - limitBytes);
      wake();
    },
    next(offset) {
      const index = firstEndingAfter(pieces, offset);
      const piece = pieces[index];
      if (!piece || piece.offset >= offset) return piece;
      return { ...piece, offset, bytes: piece.bytes.subarray(offset - piece.offset) };
    },
    collect: (stream) => {
      const all = Buffer.concat(pieces.filter((piece) => piece.stream === stream).map((piece) => piece.bytes));
      if (all.length > limitBytes) dropped.add(stream);
      return all.length > limitBytes ? all.subarray(-limitBytes) : all;
    },
    get endOffset() {
      return endOffset;
    },
    hasDropped: (stream) => dropped.has(stream),
    get keptBytes() {
      let sum = 0;
      for (const size of kept.values()) sum += size;
      return sum;
    },
    changed: (signal) =>
      new Promise<void>((resolve) => {
        if (signal?.aborted) return resolve();
        const waiter = () => {
          waiters.delete(waiter);
          signal?.removeEventListener("abort", waiter);
          resolve();
        };
        waiters.add(waiter);
        signal?.addEventListener("abort", waiter, { once: true });
      }),
    wake,
  };
}

function firstEndingAfter(pieces: readonly OutputPiece<string>[], offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const piece = pieces[middle];
    if (piece && piece.offset + piece.bytes.length > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}
