import { DormouseError } from "@dormouse/base";
import { sha256Of } from "./block-codec.ts";

/*
 * The beginning of a pack, little endian; stored bytes follow one after the other:
 *
 *    8  "DORMPACK"
 *    4  format version, 1
 *    4  length of this header, 72
 *   16  id of the pack
 *    8  fingerprint of the key its blocks are sealed with, zeros without one
 *   32  SHA-256 of the 40 bytes before, verified before any of them is believed
 */
const magic = "DORMPACK";
const hashedBytes = 40;

/** Length of a pack's header. */
export const packHeaderBytes = 72;

/** Packs this release reads: its own version and the one before it, of which there is none yet. */
export const readablePackVersions: readonly number[] = [1];
const writtenPackVersion = 1;

/** At most so long: one object that is moved, cached and deleted as a whole, its offsets fit 32 bits. */
export const maxPackBytes = 64 * 1024 * 1024;

/** What a pack's header must say. */
export interface PackIdentity {
  /** 32 hex characters. */
  id: string;
  /** 16 hex characters, null when its blocks are not sealed. */
  fingerprint: string | null;
}

const noFingerprint = "0".repeat(16);

/** The object that holds a pack. */
export function packKey(id: string): string {
  return `${packPrefix}${id}`;
}

/** Where packs lie in the store. */
export const packPrefix = "packs/";

/** The header of a new pack. */
export function encodePackHeader(identity: PackIdentity): Buffer {
  const header = Buffer.alloc(packHeaderBytes);
  header.write(magic, 0, "latin1");
  header.writeUInt32LE(writtenPackVersion, 8);
  header.writeUInt32LE(packHeaderBytes, 12);
  header.write(identity.id, 16, "hex");
  header.write(identity.fingerprint ?? noFingerprint, 32, "hex");
  header.write(sha256Of(header.subarray(0, hashedBytes)), hashedBytes, "hex");
  return header;
}

/**
 * Checks the first bytes of a pack.
 * @throws DormouseError `data_loss` when they are not the header of this pack,
 *   `failed_precondition` naming both versions when another Dormouse wrote it.
 */
export function checkPackHeader(header: Buffer, identity: PackIdentity): void {
  const damaged = (what: string) =>
    new DormouseError("data_loss", `the header of pack ${identity.id} is damaged: ${what}`, {
      details: { pack: identity.id },
    });
  if (header.length !== packHeaderBytes) throw damaged(`only ${header.length} of ${packHeaderBytes} bytes are there`);
  if (sha256Of(header.subarray(0, hashedBytes)) !== header.toString("hex", hashedBytes)) {
    throw damaged("its SHA-256 does not fit");
  }
  const version = header.readUInt32LE(8);
  if (header.toString("latin1", 0, 8) !== magic) throw damaged("it is no pack");
  if (!readablePackVersions.includes(version)) {
    throw new DormouseError(
      "failed_precondition",
      `pack ${identity.id} has format version ${version}; this Dormouse reads ${readablePackVersions.join(" and ")}`,
    );
  }
  if (header.readUInt32LE(12) !== packHeaderBytes) throw damaged(`it says to be ${header.readUInt32LE(12)} bytes long`);
  if (header.toString("hex", 16, 32) !== identity.id) throw damaged(`it is of pack ${header.toString("hex", 16, 32)}`);
  const fingerprint = header.toString("hex", 32, hashedBytes);
  if (fingerprint !== (identity.fingerprint ?? noFingerprint)) {
    throw damaged(`its key has fingerprint ${fingerprint}, the manifest says ${identity.fingerprint}`);
  }
}
