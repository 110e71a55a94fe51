import { DormouseError } from "@dormouse/base";

/*
 * The part of the qcow2 format (https://www.qemu.org/docs/master/interop/qcow2.html) that layers of a workspace drive
 * use: version 3, clusters of 64 KiB, no snapshots, encryption, compression, bitmaps, or data in other files. All
 * numbers are big endian.
 */
export const clusterBytes = 65536;
/** Entries of one table of the second level, 8 bytes each. */
export const tableEntries = clusterBytes / 8;
/** What one entry of the first level covers: 512 MiB. */
export const tableSpanBytes = tableEntries * clusterBytes;
/** Drives may be this large; it bounds what reading a layer takes. */
export const maxDriveBytes = 16 * 1024 ** 4;

const magic = 0x514649fb;
const version = 3;
const clusterBits = 16;
const refcountOrder = 4;
const minHeaderBytes = 104;
/** Room for what later versions add; those additions must be zero. */
export const maxHeaderBytes = 4096;

/** What of a header is needed to find everything else. */
export interface LayerHeader {
  /** Size of the drive. */
  driveBytes: number;
  firstLevelOffset: number;
  firstLevelEntries: number;
}

/** Entries that the first level needs for a drive. */
export function firstLevelEntries(driveBytes: number): number {
  return Math.ceil(driveBytes / tableSpanBytes);
}

/** @throws DormouseError `invalid_argument` for a size that no layer can have. */
export function checkDriveBytes(driveBytes: number): void {
  if (Number.isSafeInteger(driveBytes) && driveBytes > 0 && driveBytes % 512 === 0 && driveBytes <= maxDriveBytes) {
    return;
  }
  throw new DormouseError(
    "invalid_argument",
    `a drive has ${driveBytes} bytes; it must be a multiple of 512 up to ${maxDriveBytes}`,
  );
}

/** The first bytes of a layer, with the zeros that end the list of extensions. */
export function encodeHeader(header: LayerHeader & { refcountTableOffset: number }): Buffer {
  const bytes = Buffer.alloc(minHeaderBytes + 8);
  bytes.writeUInt32BE(magic, 0);
  bytes.writeUInt32BE(version, 4);
  bytes.writeUInt32BE(clusterBits, 20);
  bytes.writeBigUInt64BE(BigInt(header.driveBytes), 24);
  bytes.writeUInt32BE(header.firstLevelEntries, 36);
  bytes.writeBigUInt64BE(BigInt(header.firstLevelOffset), 40);
  bytes.writeBigUInt64BE(BigInt(header.refcountTableOffset), 48);
  bytes.writeUInt32BE(1, 56);
  bytes.writeUInt32BE(refcountOrder, 96);
  bytes.writeUInt32BE(minHeaderBytes, 100);
  return bytes;
}

/**
 * Reads a header that a VMM may have written. A name of a backing file is not looked at: what lies below a layer is told
 * to the VMM, never taken from the file.
 * @throws DormouseError `data_loss` for everything that is not understood.
 */
export function decodeHeader(bytes: Buffer, path: string, fileBytes: number): LayerHeader {
  const refuse = (what: string): never => {
    throw new DormouseError("data_loss", `the drive's layer ${path} cannot be read: ${what}`);
  };
  if (bytes.length < minHeaderBytes) return refuse(`it has ${fileBytes} bytes, fewer than a header`);
  const expect = (name: string, found: number | bigint, wanted: number | bigint) => {
    if (found !== wanted) refuse(`${name} is ${found}, not ${wanted}`);
  };
  expect("the magic number", bytes.readUInt32BE(0), magic);
  expect("the version", bytes.readUInt32BE(4), version);
  expect("cluster bits", bytes.readUInt32BE(20), clusterBits);
  expect("the encryption method", bytes.readUInt32BE(32), 0);
  expect("the number of snapshots", bytes.readUInt32BE(60), 0);
  expect("incompatible features", bytes.readBigUInt64BE(72), 0n);
  expect("compatible features", bytes.readBigUInt64BE(80), 0n);
  expect("autoclear features", bytes.readBigUInt64BE(88), 0n);
  expect("the refcount order", bytes.readUInt32BE(96), refcountOrder);
  const headerBytes = bytes.readUInt32BE(100);
  if (headerBytes < minHeaderBytes || headerBytes > bytes.length) refuse(`its header has ${headerBytes} bytes`);
  for (const byte of bytes.subarray(minHeaderBytes, headerBytes)) expect("an additional field", byte, 0);

  const driveBytes = Number(bytes.readBigUInt64BE(24));
  if (!(driveBytes > 0 && driveBytes % 512 === 0 && driveBytes <= maxDriveBytes)) {
    refuse(`the drive's size is ${driveBytes}`);
  }
  const entries = bytes.readUInt32BE(36);
  expect("the number of entries of the first level", entries, firstLevelEntries(driveBytes));
  const offset = Number(bytes.readBigUInt64BE(40));
  if (offset < clusterBytes || offset % clusterBytes !== 0 || offset + entries * 8 > fileBytes) {
    refuse(`its first level lies at ${offset} of ${fileBytes} bytes`);
  }
  return { driveBytes, firstLevelOffset: offset, firstLevelEntries: entries };
}
