/** Bytes as base64, as the contracts carry them. */
export function toBase64(bytes: Uint8Array): string {
  if (typeof Buffer !== "undefined") {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  }
  // In slices, because a call takes only so many arguments.
  let binary = "";
  for (let start = 0; start < bytes.length; start += 32_768) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 32_768));
  }
  return btoa(binary);
}

/** The bytes of a base64 text. */
export function fromBase64(text: string): Uint8Array {
  if (typeof Buffer !== "undefined") return Buffer.from(text, "base64");
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Text as UTF-8; bytes stay as they are. */
export function toBytes(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/**
 * A guest path for a URL's query: percent-encoded bytes. Lone surrogates U+DC80…U+DCFF,
 * which stand for bytes that are not UTF-8 (PEP 383), become those bytes.
 */
export function encodePath(path: string): string {
  return path.replace(/[\uDC80-\uDCFF]|[\uD800-\uDBFF][\uDC00-\uDFFF]|[\s\S]/g, (character) => {
    const unit = character.charCodeAt(0);
    if (character.length === 1 && unit >= 0xdc80 && unit <= 0xdcff) return `%${(unit - 0xdc00).toString(16)}`;
    return encodeURIComponent(character.isWellFormed() ? character : "\uFFFD");
  });
}

/** Keeps the last `limit` bytes of what is appended, and whether anything was dropped. */
export class OutputTail {
  readonly #limit: number;
  #chunks: Uint8Array[] = [];
  #size = 0;
  #dropped = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  append(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#size += bytes.length;
    // Joined only when it has doubled, so that appending stays linear.
    if (this.#size > 2 * this.#limit) this.#shorten();
  }

  get dropped(): boolean {
    return this.#dropped || this.#size > this.#limit;
  }

  text(): string {
    this.#shorten();
    return new TextDecoder().decode(this.#chunks[0]);
  }

  #shorten(): void {
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    if (all.length > this.#limit) this.#dropped = true;
    const kept = all.slice(Math.max(0, all.length - this.#limit));
    this.#chunks = [kept];
    this.#size = kept.length;
  }
}
