import { DormouseError } from "@dormouse/base";
import { z } from "zod";
import { sha256Of } from "./block-codec.ts";
import { maxImageBytes } from "./block-ref.ts";
import type { Cipher } from "./encryption.ts";
import { maxPackBytes } from "./pack-header.ts";

/** Manifests this release reads: its own version and the one before it, of which there is none yet. */
export const readableManifestVersions: readonly number[] = [1];
const writtenManifestVersion = 1;

/** Device state in blocks and every pack of a large chain fit easily; more is no manifest. */
export const maxManifestBytes = 4 * 1024 * 1024;
const maxDeviceBytes = 64 * 1024 * 1024;

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const count = z.number().int().nonnegative();
const refSchema = z.strictObject({ pack: hex(16), offset: count, length: count.min(1), sha256: hex(32) });
const imageSchema = z.strictObject({
  bytes: count.max(maxImageBytes),
  root: refSchema.nullable(),
  live: z.record(hex(16), count),
});
const common = {
  formatVersion: z.literal(writtenManifestVersion),
  createdBy: z.string(),
  createdMs: count,
  keyId: z.string().nullable(),
  packs: z.array(z.strictObject({ id: hex(16), bytes: count.max(maxPackBytes), keyId: z.string().nullable() })),
  keys: z.array(z.strictObject({ id: z.string(), fingerprint: hex(8) })),
  sizes: z.strictObject({ storedBytes: count, logicalBytes: count }),
};
const snapshotSchema = z.strictObject({
  kind: z.literal("snapshot"),
  ...common,
  id: z.string(),
  workspaceId: z.string(),
  generation: count,
  name: z.string().nullable(),
  reason: z.enum(["periodic", "hibernate", "manual", "fork"]),
  parent: z.strictObject({ workspaceId: z.string(), id: z.string(), sha256: hex(32) }).nullable(),
  compatibility: z.record(z.string(), z.json()),
  devices: z.strictObject({ bytes: count.max(maxDeviceBytes), blocks: z.array(refSchema) }),
  memory: imageSchema.nullable(),
  disks: z.array(imageSchema.extend({ name: z.string() })),
  facts: z.record(z.string(), z.json()),
});
const fileSchema = z.strictObject({ kind: z.literal("file"), ...common, sha256: hex(32), image: imageSchema });
const manifestSchema = z.discriminatedUnion("kind", [snapshotSchema, fileSchema]);

/**
 * What a snapshot is: where its blocks lie, and what they belong to. `packs` are all it
 * needs, also those of its ancestors, so that an ancestor can be removed. `parent` is
 * lineage: the ancestor's manifest, by its hash. `compatibility` is compute's: what must
 * be the same where the device state is loaded. `facts` are for people. Both are stored
 * unsealed, also with a key. `sizes.storedBytes` is what this snapshot added.
 */
export type SnapshotManifest = z.infer<typeof snapshotSchema>;

/** A file kept as an image: a kernel, a base image; `sha256` is that of its content. */
export type FileManifest = z.infer<typeof fileSchema>;

/** Any manifest. */
export type Manifest = SnapshotManifest | FileManifest;

/** An image in a manifest. `live` counts, by pack, the bytes that its blocks, index nodes and root refer to. */
export type StoredImage = z.infer<typeof imageSchema>;

/** A pack in a manifest. */
export type StoredPack = Manifest["packs"][number];

/** Why a snapshot was taken. */
export type SnapshotReason = SnapshotManifest["reason"];

/** A value that JSON can hold. */
export type JsonObject = SnapshotManifest["facts"];

/*
 * A manifest's object is one line of JSON:
 *
 *   {"sha256":"<64 hex>","hmac":"<64 hex>"|null,"manifest":<canonical JSON>}
 *
 * `sha256` is over everything behind it. `hmac` is over the canonical JSON, with the
 * organisation's key. Both stand at fixed places and are verified before JSON is parsed.
 */
const envelope = /^\{"sha256":"([0-9a-f]{64})",("hmac":(null|"[0-9a-f]{64}"),"manifest":(\{.*\})\}\n)$/s;

/** The bytes to store, and their hash, by which a child names this manifest. */
export function encodeManifest(manifest: Manifest, cipher?: Cipher): { bytes: Buffer; sha256: string } {
  const json = canonicalJson(manifest);
  const hmac = cipher ? `"${cipher.authenticate(Buffer.from(json))}"` : "null";
  const covered = `"hmac":${hmac},"manifest":${json}}\n`;
  const sha256 = sha256Of(Buffer.from(covered));
  const bytes = Buffer.from(`{"sha256":"${sha256}",${covered}`);
  if (bytes.length > maxManifestBytes) {
    throw new DormouseError(
      "resource_exhausted",
      `a manifest of ${bytes.length} bytes; ${maxManifestBytes} is the limit`,
    );
  }
  return { bytes, sha256 };
}

/** A manifest whose hash was right. Whether the organisation's key made it is only known after {@link checkAuthentic}. */
export interface VerifiedManifest<Kind extends Manifest = Manifest> {
  manifest: Kind;
  sha256: string;
  hmac: string | null;
  json: Buffer;
}

/**
 * Verifies and parses a manifest.
 * @throws DormouseError `data_loss` naming the object when it is damaged,
 *   `failed_precondition` naming both versions when another Dormouse wrote it.
 */
export function decodeManifest(bytes: Buffer, key: string): VerifiedManifest {
  const damaged = (what: string, cause?: unknown) =>
    new DormouseError("data_loss", `manifest ${key} is damaged: ${what}`, { cause });
  if (bytes.length > maxManifestBytes) throw damaged(`it has more than ${maxManifestBytes} bytes`);
  // Byte for byte, since a decoder of UTF-8 would take different bytes for the same text.
  const match = envelope.exec(bytes.toString("latin1"));
  const [, sha256 = "", covered = "", hmac = "", json = ""] = match ?? [];
  if (!match) throw damaged("it does not have the form of one");
  if (sha256Of(Buffer.from(covered, "latin1")) !== sha256) throw damaged("its SHA-256 does not fit");
  const jsonBytes = Buffer.from(json, "latin1");
  const value: unknown = JSON.parse(jsonBytes.toString());
  const version = (value as { formatVersion?: unknown }).formatVersion;
  if (!readableManifestVersions.includes(version as number)) {
    throw new DormouseError(
      "failed_precondition",
      `manifest ${key} has format version ${JSON.stringify(version)}; this Dormouse reads ${readableManifestVersions.join(" and ")}`,
    );
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw damaged(`${issue?.path.join(".")}: ${issue?.message}`, parsed.error);
  }
  return { manifest: parsed.data, sha256, hmac: hmac === "null" ? null : hmac.slice(1, -1), json: jsonBytes };
}

/**
 * Checks that a sealed snapshot's manifest was made with the organisation's key.
 * @throws DormouseError `data_loss` when somebody without the key made or changed it.
 */
export function checkAuthentic(verified: VerifiedManifest, key: string, cipher: Cipher | undefined): void {
  const isAuthentic = cipher
    ? verified.hmac !== null && cipher.isAuthentic(verified.json, verified.hmac)
    : verified.hmac === null;
  if (isAuthentic) return;
  throw new DormouseError(
    "data_loss",
    `manifest ${key} was not made with ${cipher ? `key ${cipher.keyId}` : "no key"}: its HMAC does not fit`,
  );
}

/** JSON without spaces, members sorted by name: equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
