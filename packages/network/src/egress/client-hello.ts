/** What the first bytes of a TLS connection say of its server (RFC 8446 4.1.2, RFC 6066 3). */
export type ClientHello =
  /** More bytes are needed to tell. */
  | { kind: "incomplete" }
  /** No ClientHello, or one that contradicts itself. */
  | { kind: "malformed" }
  /**
   * The name as it stands there; undefined when there is none. `mayHideAnother`: there is an Encrypted ClientHello in it, or
   * the random bytes that browsers send in its place (GREASE), which nobody without the server's key can tell apart.
   */
  | { kind: "complete"; serverName: string | undefined; mayHideAnother: boolean };

const handshakeRecord = 22;
const clientHello = 1;
const maxRecordBytes = 16_384;
const serverNameExtension = 0;
/** Encrypted ClientHello (RFC 9849), and its drafts before it. */
const encryptedExtensions = new Set([0xfe0d, 0xffce]);

/** Whether bytes can be the beginning of a TLS connection. */
export function isTls(bytes: Buffer): boolean {
  return bytes[0] === handshakeRecord && (bytes.length < 2 || bytes[1] === 3);
}

/**
 * Reads the ClientHello at the beginning of a connection, in however many records and pieces it comes. A client that says
 * two names, or one extension twice, is malformed: servers would not agree on which is meant.
 */
export function readClientHello(bytes: Buffer): ClientHello {
  const { handshake, isWhole } = joinRecords(bytes);
  if (handshake.length >= 1 && handshake[0] !== clientHello) return { kind: "malformed" };
  const length = handshake.length >= 4 ? handshake.readUIntBE(1, 3) : undefined;
  if (length !== undefined && length > maxRecordBytes) return { kind: "malformed" };
  if (length === undefined || handshake.length < 4 + length) return { kind: isWhole ? "malformed" : "incomplete" };
  try {
    return readBody(new Reader(handshake.subarray(4, 4 + length)));
  } catch (error) {
    if (error instanceof RangeError) return { kind: "malformed" };
    throw error;
  }
}

/** The handshake's bytes out of their records, and whether something else follows them. */
function joinRecords(bytes: Buffer): { handshake: Buffer; isWhole: boolean } {
  const parts: Buffer[] = [];
  let at = 0;
  let isWhole = false;
  while (bytes.length >= at + 5 && !isWhole) {
    const length = bytes.readUInt16BE(at + 3);
    // An empty record would let a client go on for ever.
    isWhole = bytes[at] !== handshakeRecord || bytes[at + 1] !== 3 || length === 0 || length > maxRecordBytes;
    if (isWhole) break;
    parts.push(bytes.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return { handshake: Buffer.concat(parts), isWhole };
}

function readBody(body: Reader): ClientHello {
  body.skip(2 + 32);
  body.skip(body.uint8());
  body.skip(body.uint16());
  body.skip(body.uint8());
  if (body.isAtEnd) return { kind: "complete", serverName: undefined, mayHideAnother: false };
  const extensions = body.part(body.uint16());
  if (!body.isAtEnd) return { kind: "malformed" };
  const seen = new Set<number>();
  let serverName: string | undefined;
  while (!extensions.isAtEnd) {
    const type = extensions.uint16();
    const content = extensions.part(extensions.uint16());
    if (seen.has(type)) return { kind: "malformed" };
    seen.add(type);
    if (type !== serverNameExtension) continue;
    const list = content.part(content.uint16());
    if (list.uint8() !== 0) return { kind: "malformed" };
    serverName = list.text(list.uint16());
    if (!list.isAtEnd || !content.isAtEnd) return { kind: "malformed" };
  }
  return { kind: "complete", serverName, mayHideAnother: [...seen].some((type) => encryptedExtensions.has(type)) };
}

/** Reads numbers and parts one after the other; beyond the end is a RangeError. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  uint8(): number {
    return this.#take(1).readUInt8(0);
  }

  uint16(): number {
    return this.#take(2).readUInt16BE(0);
  }

  skip(length: number): void {
    this.#take(length);
  }

  part(length: number): Reader {
    return new Reader(this.#take(length));
  }

  text(length: number): string {
    return this.#take(length).toString("latin1");
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("beyond the end");
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}
