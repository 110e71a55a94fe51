/** Bytes as base64, as they cross the channel. */
export function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** The bytes behind base64. */
export function fromBase64(text: string): Uint8Array {
  return Uint8Array.fromBase64(text);
}
