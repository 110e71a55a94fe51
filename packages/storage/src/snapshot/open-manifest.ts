import { DormouseError } from "@dormouse/base";
import { checkAuthentic, type Manifest, type VerifiedManifest } from "../format/manifest.ts";
import { createPackReader, type PackReader } from "../pack/pack-reader.ts";
import { type KeyRing, openKeyRing } from "./key-ring.ts";
import type { Settings } from "./settings.ts";

/** A manifest that was verified down to its key, and the way to its blocks. */
export interface OpenManifest<Kind extends Manifest = Manifest> {
  manifest: Kind;
  sha256: string;
  keys: KeyRing;
  packs: PackReader;
}

/**
 * Finds a manifest's keys and checks that it was made with its own.
 * @throws DormouseError `failed_precondition` naming a key that is missing or wrong,
 *   `data_loss` when the manifest was made without it.
 */
export async function openManifest<Kind extends Manifest>(
  verified: VerifiedManifest<Kind>,
  name: string,
  settings: Settings,
): Promise<OpenManifest<Kind>> {
  const { manifest } = verified;
  if (manifest.keyId === null && manifest.keys.length > 0) {
    throw new DormouseError("data_loss", `${name} has sealed blocks, but its manifest was made with no key`);
  }
  const keys = await openKeyRing(manifest, name, settings.findKey);
  checkAuthentic(verified, name, keys.own);
  const packs = createPackReader({
    objects: settings.objects,
    packs: new Map(
      manifest.packs.map(({ id, bytes, keyId }) => [id, { bytes, fingerprint: keys.fingerprintOf(keyId) }]),
    ),
    findCipher: keys.findCipher,
    name,
    readConcurrency: settings.readConcurrency,
  });
  return { manifest, sha256: verified.sha256, keys, packs };
}
