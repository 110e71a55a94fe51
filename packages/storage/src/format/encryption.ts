import { createCipheriv, createDecipheriv, createHmac, hash, hkdfSync, timingSafeEqual } from "node:crypto";
import { DormouseError } from "@dormouse/base";

/** A key of an organisation. It never lies in the object store; its id and fingerprint do. */
export interface StorageKey {
  /** Names the key in manifests and messages. */
  id: string;
  /** 32 bytes of real randomness. */
  bytes: Uint8Array;
}

/** Finds the key of an id, undefined when this host may not have it. */
export type FindKey = (id: string) => Promise<StorageKey | undefined> | StorageKey | undefined;

/** Bytes that encryption adds to a stored block: fingerprint, nonce, tag. */
export const encryptionOverheadBytes = 8 + 12 + 16;
const fingerprintBytes = 8;
const nonceBytes = 12;
const tagBytes = 16;

/** What can be done with a key. */
export interface Cipher {
  /** What it was made of, for another thread. */
  readonly key: StorageKey;
  readonly keyId: string;
  /** 16 hex characters that tell this key from others of the same id, and tell nothing about it. */
  readonly fingerprint: string;
  /** Equal plain bytes give equal sealed bytes, so that they are stored once. */
  seal(plain: Uint8Array): Buffer;
  /** @throws DormouseError `data_loss` when the bytes were not sealed with this key. */
  open(sealed: Buffer): Buffer;
  /** HMAC-SHA-256 in hex. */
  authenticate(bytes: Uint8Array): string;
  /** Compares in constant time. */
  isAuthentic(bytes: Uint8Array, code: string): boolean;
}

/**
 * AES-256-GCM (NIST SP 800-38D) with the nonce derived from what is sealed, as in
 * synthetic-IV schemes (RFC 5297): the first 96 bits of HMAC-SHA-256(nonce key, SHA-256
 * of the plain bytes). The plain bytes are exactly those that are encrypted, after
 * compression, so that a nonce returns only with the same message, whatever compressor
 * made it. What this gives away is which blocks of one organisation are equal.
 * @throws DormouseError `invalid_argument` unless the key has 32 bytes and an id.
 */
export function createCipher(key: StorageKey): Cipher {
  if (key.bytes.length !== 32 || !/^[A-Za-z0-9._-]{1,64}$/.test(key.id)) {
    throw new DormouseError(
      "invalid_argument",
      `storage key ${JSON.stringify(key.id.slice(0, 64))} with ${key.bytes.length} bytes: it must have 32 bytes and an id of 1 to 64 characters A-Z a-z 0-9 . _ -`,
    );
  }
  const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", key.bytes, "", `dormouse storage ${purpose}`, 32));
  const [encryptionKey, nonceKey, manifestKey] = [derive("blocks"), derive("nonces"), derive("manifests")];
  const fingerprint = derive("fingerprint").subarray(0, fingerprintBytes);
  const authenticate = (bytes: Uint8Array) => createHmac("sha256", manifestKey).update(bytes).digest();
  return {
    key,
    keyId: key.id,
    fingerprint: fingerprint.toString("hex"),
    seal(plain) {
      const nonce = createHmac("sha256", nonceKey)
        .update(hash("sha256", plain, "buffer"))
        .digest()
        .subarray(0, nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", encryptionKey, nonce);
      cipher.setAAD(fingerprint);
      const sealed = cipher.update(plain);
      cipher.final();
      return Buffer.concat([fingerprint, nonce, cipher.getAuthTag(), sealed]);
    },
    open(sealed) {
      const nonce = sealed.subarray(fingerprintBytes, fingerprintBytes + nonceBytes);
      const tag = sealed.subarray(fingerprintBytes + nonceBytes, encryptionOverheadBytes);
      try {
        const decipher = createDecipheriv("aes-256-gcm", encryptionKey, nonce, { authTagLength: tagBytes });
        decipher.setAAD(fingerprint);
        decipher.setAuthTag(tag);
        const plain = decipher.update(sealed.subarray(encryptionOverheadBytes));
        decipher.final();
        return plain;
      } catch (error) {
        throw new DormouseError("data_loss", `a block was not sealed with key ${key.id}`, { cause: error });
      }
    },
    authenticate: (bytes) => authenticate(bytes).toString("hex"),
    isAuthentic(bytes, code) {
      const given = Buffer.from(code, "hex");
      return given.length === 32 && timingSafeEqual(given, authenticate(bytes));
    },
  };
}

/** The fingerprint at the beginning of sealed bytes, in hex. */
export function fingerprintOf(sealed: Buffer): string {
  return sealed.toString("hex", 0, fingerprintBytes);
}
