/** Numbers in [0, 1) from a seed (mulberry32), so that a failure can be seen again. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** `length` bytes from a generator; about half as large when compressed if `isCompressible`. */
export function randomBytes(next: () => number, length: number, isCompressible = false): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) {
    if (isCompressible && at % 8 === 4) continue;
    bytes.writeUInt32LE((next() * 4294967296) >>> 0, at);
  }
  for (let at = length - (length % 4); at < length; at++) bytes[at] = Math.floor(next() * 256);
  return bytes;
}
