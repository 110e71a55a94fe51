import { closeSync, openSync, readSync } from "node:fs";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

/**
 * An identifier like base's `createId`, from the kernel's randomness directly. Node's own
 * (`getRandomValues`, `randomBytes`) is OpenSSL's generator inside the process, whose state a
 * snapshot keeps: two machines of one template would draw the same ids (measured: in 3 of 3
 * restores, also after the kernel was reseeded).
 */
export function randomId(prefix: string): string {
  const bytes = randomBytesOfKernel(20);
  let id = `${prefix}-`;
  for (const byte of bytes) id += alphabet[byte & 31];
  return id;
}

/** Bytes of /dev/urandom, read now. */
export function randomBytesOfKernel(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  const device = openSync("/dev/urandom", "r");
  try {
    readSync(device, bytes, 0, size, null);
  } finally {
    closeSync(device);
  }
  return bytes;
}
