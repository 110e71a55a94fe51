import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { createCipher } from "./encryption.ts";
import { canonicalJson, checkAuthentic, decodeManifest, encodeManifest, readableManifestVersions } from "./manifest.ts";

/*
 * Manifests as each readable version wrote them. They are never changed: when the format
 * gets a new version, it gets a new file, and the old one must still be read.
 */
const golden = (version: number) => readFile(new URL(`../testing/golden/manifest-${version}.golden`, import.meta.url));
// The key the golden manifests were made with.
const cipher = createCipher({ id: "golden-key", bytes: Buffer.alloc(32, 7) });

test.each([...readableManifestVersions])(
  "the golden manifest of version %i is read, and means what it meant",
  async (version) => {
    const verified = decodeManifest(await golden(version), "golden");
    checkAuthentic(verified, "golden", cipher);
    const { manifest } = verified;
    if (manifest.kind !== "snapshot") throw new Error("it is a snapshot's");
    expect(manifest).toMatchObject({
      formatVersion: version,
      id: "snapshot-000073a4c0n00r0gnta4",
      workspaceId: "ws-0123456789abcdefghjk",
      generation: 7,
      name: "golden",
      reason: "manual",
      keyId: "golden-key",
      memory: { bytes: 1_073_741_824 },
      compatibility: { vmm: "qemu" },
    });
    expect(manifest.disks.map(({ name }) => name)).toEqual(["work"]);
    expect(manifest.packs).toHaveLength(2);
  },
);

test("the current version still writes the golden manifest byte for byte", async () => {
  const bytes = await golden(1);
  const { manifest, sha256 } = decodeManifest(bytes, "golden");
  const again = encodeManifest(manifest, cipher);
  expect(again.bytes.equals(bytes)).toBe(true);
  expect(again.sha256).toBe(sha256);
});

test("equal values have one canonical form, whatever the order of their members", () => {
  expect(canonicalJson({ b: [{ d: 1, c: null }], a: "ü" })).toBe('{"a":"ü","b":[{"c":null,"d":1}]}');
  expect(canonicalJson({ a: undefined, b: 1 })).toBe('{"b":1}');
});

test("a manifest that is too large is refused when it is written", async () => {
  const { manifest } = decodeManifest(await golden(1), "golden");
  if (manifest.kind !== "snapshot") throw new Error("it is a snapshot's");
  const large = { ...manifest, facts: { text: "x".repeat(5_000_000) } };
  expect(() => encodeManifest(large)).toThrow("4194304 is the limit");
});
