import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { DormouseError } from "@dormouse/base";

const version = "1";
const cipher = "aes-256-gcm";
const ivBytes = 12;
const tagBytes = 16;
const placeholderCharacters = 40;

/** Whose value it is: sealed for one secret, it opens as no other's. */
export interface SealedFor {
  organisationId: string;
  secretId: string;
}

/** Encrypts values for the database, under a key of their organisation, and makes their placeholders. */
export interface Seal {
  seal(value: string, of: SealedFor): string;
  /** @throws DormouseError `data_loss` for what was sealed by another key, for another secret, or is damaged. */
  open(sealed: string, of: SealedFor): string;
  /**
   * What stands for a secret in a workspace's machines: the same as long as both are there, and of no use to any other
   * workspace. It says nothing of the value.
   */
  placeholder(workspaceId: string, secretId: string): string;
}

/** @param secret of the installation; without it nothing that was sealed opens. */
export function createSeal(secret: string): Seal {
  const keyOf = (purpose: string) => Buffer.from(hkdfSync("sha256", secret, "", `dormouse ${purpose}`, 32));
  const placeholderKey = keyOf("placeholders of secrets");
  const associated = ({ organisationId, secretId }: SealedFor) => Buffer.from(`${organisationId} ${secretId}`);
  const key = ({ organisationId }: SealedFor) => keyOf(`secrets of ${organisationId}`);
  return {
    seal(value, of) {
      const iv = randomBytes(ivBytes);
      const sealing = createCipheriv(cipher, key(of), iv).setAAD(associated(of));
      const bytes = Buffer.concat([sealing.update(value, "utf8"), sealing.final()]);
      return `${version}.${Buffer.concat([iv, sealing.getAuthTag(), bytes]).toString("base64")}`;
    },
    open(sealed, of) {
      const [found, text = ""] = sealed.split(".");
      const bytes = Buffer.from(text, "base64");
      try {
        if (found !== version) throw new Error(`its version is ${found}`);
        const opening = createDecipheriv(cipher, key(of), bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
          .setAAD(associated(of))
          .setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
        return `${opening.update(bytes.subarray(ivBytes + tagBytes), undefined, "utf8")}${opening.final("utf8")}`;
      } catch (cause) {
        throw new DormouseError("data_loss", `the value of secret ${of.secretId} cannot be opened`, { cause });
      }
    },
    placeholder(workspaceId, secretId) {
      const digest = createHmac("sha256", placeholderKey).update(`${workspaceId} ${secretId}`).digest("hex");
      return `dormouse-secret-${digest.slice(0, placeholderCharacters)}`;
    },
  };
}
