import { open, rm } from "node:fs/promises";
import { checkDriveBytes, clusterBytes, encodeHeader, firstLevelEntries } from "./format.ts";

/**
 * Writes a layer that holds nothing: all reads go through to what lies below. Takes 256 KiB, most of it a hole, and no
 * process. The file is not synced: an empty layer can be made again.
 * @throws DormouseError `invalid_argument` for a size that a layer cannot have; the system's error when `path` is taken.
 *   Nothing stays behind then.
 */
export async function createLayer(path: string, driveBytes: number): Promise<void> {
  checkDriveBytes(driveBytes);
  const entries = firstLevelEntries(driveBytes);
  // Header, refcount table, refcount block, first level: each begins a cluster.
  const [refcountTable, refcountBlock, firstLevel] = [1, 2, 3].map((cluster) => cluster * clusterBytes);
  const clusters = 3 + Math.ceil((entries * 8) / clusterBytes);
  const header = encodeHeader({
    driveBytes,
    firstLevelEntries: entries,
    firstLevelOffset: firstLevel ?? 0,
    refcountTableOffset: refcountTable ?? 0,
  });
  const tableEntry = Buffer.alloc(8);
  tableEntry.writeBigUInt64BE(BigInt(refcountBlock ?? 0));
  const refcounts = Buffer.alloc(clusters * 2);
  for (let cluster = 0; cluster < clusters; cluster++) refcounts.writeUInt16BE(1, cluster * 2);
  const file = await open(path, "wx", 0o600);
  try {
    await file.truncate(clusters * clusterBytes);
    await file.write(header, 0, header.length, 0);
    await file.write(tableEntry, 0, tableEntry.length, refcountTable);
    await file.write(refcounts, 0, refcounts.length, refcountBlock);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}
