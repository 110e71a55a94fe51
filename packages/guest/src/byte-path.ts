import { isUtf8 } from "node:buffer";

/**
 * Names of files are bytes; JSON carries text. As Python does (PEP 383), each byte that is
 * no UTF-8 becomes a lone surrogate U+DC80…U+DCFF, and goes back to that byte.
 */
export function bytesToPath(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString("utf8");
  let text = "";
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer, at);
    if (length > 0) {
      text += buffer.toString("utf8", at, at + length);
      at += length;
    } else {
      text += String.fromCharCode(0xdc00 + (buffer[at] ?? 0));
      at++;
    }
  }
  return text;
}

/** The bytes of a name made by {@link bytesToPath}; any other text as UTF-8. */
export function pathToBytes(path: string): Buffer {
  if (path.isWellFormed()) return Buffer.from(path, "utf8");
  const parts: Buffer[] = [];
  let start = 0;
  for (let at = 0; at < path.length; at++) {
    const unit = path.charCodeAt(at);
    if (unit < 0xdc80 || unit > 0xdcff) continue;
    // The second half of a pair is no escape.
    const before = at > start ? path.charCodeAt(at - 1) : 0;
    if (before >= 0xd800 && before <= 0xdbff) continue;
    parts.push(Buffer.from(path.slice(start, at), "utf8"), Buffer.of(unit - 0xdc00));
    start = at + 1;
  }
  parts.push(Buffer.from(path.slice(start), "utf8"));
  return Buffer.concat(parts);
}

/** Length of the well-formed UTF-8 sequence at `at`; 0 where there is none. */
function sequenceLength(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  return isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
