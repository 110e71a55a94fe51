import { DormouseError } from "@dormouse/base";
import type { FindCipher } from "../format/block-codec.ts";
import { type Cipher, createCipher, type FindKey } from "../format/encryption.ts";
import type { Manifest } from "../format/manifest.ts";

/** The ciphers that one manifest needs. */
export interface KeyRing {
  /** The one its own blocks and its HMAC are made with. */
  own: Cipher | undefined;
  /** The one of a pack. */
  fingerprintOf(keyId: string | null): string | null;
  findCipher: FindCipher;
}

/**
 * Finds every key a manifest names, so that a missing or wrong one is reported before
 * anything is read.
 * @throws DormouseError `failed_precondition` naming the key.
 */
export async function openKeyRing(manifest: Manifest, name: string, findKey: FindKey): Promise<KeyRing> {
  const ciphers = new Map<string, Cipher>();
  for (const { id, fingerprint } of manifest.keys) {
    const key = await findKey(id);
    if (!key) {
      throw new DormouseError("failed_precondition", `${name} is sealed with key ${id}, which is not here`, {
        details: { keyId: id },
      });
    }
    const cipher = createCipher(key);
    if (cipher.fingerprint !== fingerprint) {
      throw new DormouseError(
        "failed_precondition",
        `${name} is sealed with key ${id} of fingerprint ${fingerprint}; the key ${key.id} here has fingerprint ${cipher.fingerprint}`,
        { details: { keyId: id } },
      );
    }
    ciphers.set(id, cipher);
  }
  const cipherOf = (keyId: string) => {
    const cipher = ciphers.get(keyId);
    if (cipher) return cipher;
    throw new DormouseError("data_loss", `${name} uses key ${keyId} without listing it`);
  };
  return {
    own: manifest.keyId === null ? undefined : cipherOf(manifest.keyId),
    fingerprintOf: (keyId) => (keyId === null ? null : cipherOf(keyId).fingerprint),
    findCipher(fingerprint) {
      const cipher = [...ciphers.values()].find((candidate) => candidate.fingerprint === fingerprint);
      if (cipher) return cipher;
      const ids = [...ciphers.keys()].join(", ") || "none";
      throw new DormouseError(
        "failed_precondition",
        `${name} has a block sealed with a key of fingerprint ${fingerprint}; its keys are ${ids}`,
      );
    },
  };
}
