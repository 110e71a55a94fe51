import { pathToBytes } from "../byte-path.ts";

/** Where the spawner of a machine listens for its host. */
export const spawnerPort = 7001;

/** The frames between the spawner and its clients; `init/protocol.h` says what each means. */
export const frame = {
  start: 1,
  stdin: 2,
  stdinClose: 3,
  resize: 4,
  signal: 5,
  release: 6,
  time: 7,
  identity: 16,
  freeze: 17,
  thaw: 18,
  sync: 19,
  powerOff: 20,
  token: 24,
  started: 65,
  stdout: 66,
  stderr: 67,
  exit: 68,
  error: 69,
  stdinTaken: 70,
  done: 71,
  released: 72,
  clock: 73,
} as const;

/** Bytes of a frame before its payload. */
export const headerBytes = 5;
/** Input that may be on the way at once. */
export const stdinWindowBytes = 65_536;
/** How often a machine asks for the time during one identity at most. */
export const clockQuestions = 3;
/** Largest request of the spawner. */
const maxRequestBytes = 2 * 1024 * 1024 + 65_536;
/** Largest frame it sends. */
const maxFrameBytes = 65_536;

/** One frame, ready to be written. */
export function encodeFrame(type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes + payload.length);
  bytes.writeUInt32LE(payload.length, 0);
  bytes[4] = type;
  bytes.set(payload, headerBytes);
  return bytes;
}

/** The answer to `clock`: milliseconds since the epoch go as nanoseconds. */
export function encodeTime(timeMs: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64LE(nanosecondsOf(timeMs));
  return encodeFrame(frame.time, payload);
}

/** Exact to the microsecond, which is what a number of milliseconds can hold. */
export function nanosecondsOf(timeMs: number): bigint {
  return BigInt(Math.round(timeMs * 1000)) * 1000n;
}

/** A payload of records: one key letter, a value, a NUL each. Undefined when it is larger than the spawner takes. */
export function encodeRecords(records: readonly (readonly [key: string, value: string])[]): Buffer | undefined {
  const payload = Buffer.concat(records.map(([key, value]) => pathToBytes(`${key}${value}\0`)));
  return payload.length <= maxRequestBytes ? payload : undefined;
}

/**
 * Cuts a stream into frames. The payload given to `onFrame` is a view that later data does
 * not change. Throws when a frame is longer than the spawner ever sends.
 */
export function frameReader(onFrame: (type: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer | undefined;
  return (chunk) => {
    let data = rest ? Buffer.concat([rest, chunk]) : chunk;
    rest = undefined;
    while (data.length >= headerBytes) {
      const size = data.readUInt32LE(0);
      if (size > maxFrameBytes) throw new Error(`the spawner sent a frame of ${size} bytes`);
      if (data.length < headerBytes + size) break;
      onFrame(data[4] ?? 0, data.subarray(headerBytes, headerBytes + size));
      data = data.subarray(headerBytes + size);
    }
    if (data.length > 0) rest = data;
  };
}
