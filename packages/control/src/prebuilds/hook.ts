import { createHmac, timingSafeEqual } from "node:crypto";

/** What a git server signs its calls with, one for each prebuild; kept nowhere. */
export function hookSecret(installationSecret: string, prebuildId: string): string {
  return createHmac("sha256", installationSecret).update(`prebuild-hook:${prebuildId}`).digest("hex");
}

/**
 * Whether a call's body was signed with the secret: `sha256=` and the HMAC in hex, as GitHub's `X-Hub-Signature-256` has it,
 * and Gitea's and Forgejo's.
 */
export function isSigned(body: Buffer, signature: string | undefined, secret: string): boolean {
  const [, given] = /^sha256=([0-9a-f]{64})$/.exec(signature ?? "") ?? [];
  if (given === undefined) return false;
  return timingSafeEqual(createHmac("sha256", secret).update(body).digest(), Buffer.from(given, "hex"));
}
