import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { clusterBytes, decodeHeader, type LayerHeader, maxHeaderBytes, tableEntries } from "./format.ts";

/** What a layer says of a cluster: nothing (look below), zeros, or content. */
export type ClusterKind = "absent" | "zero" | "data";

// Bits of an entry of the second level; entries of the first have the offset and the highest bit only.
const offsetMask = 0x00ff_ffff_ffff_fe00n;
const copiedBit = 1n << 63n;
const zeroBit = 1n;

/**
 * A qcow2 file for reading. It was written by a VMM that its guest may have taken over: every offset is checked before it
 * is followed, and what is not known is refused. Takes a fixed amount of memory whatever the file says: the first
 * level (8 bytes for each 512 MiB of the drive) and one table.
 */
export class Layer implements AsyncDisposable {
  readonly path: string;
  readonly driveBytes: number;
  readonly #file: FileHandle;
  readonly #firstLevel: Buffer;
  #table: { index: number; entries: Buffer } | undefined;

  private constructor(path: string, file: FileHandle, header: LayerHeader, firstLevel: Buffer) {
    this.path = path;
    this.#file = file;
    this.driveBytes = header.driveBytes;
    this.#firstLevel = firstLevel;
  }

  /** @throws DormouseError `data_loss` when the file is no layer as {@link createLayer} and QEMU write it. */
  static async open(path: string): Promise<Layer> {
    // The folder is not the VMM's, but caution costs nothing: no links, and no waiting for a pipe's other end.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const facts = await file.stat();
      if (!facts.isFile()) throw new DormouseError("data_loss", `the drive's layer ${path} is no file`);
      const head = Buffer.alloc(maxHeaderBytes);
      const { bytesRead } = await file.read(head, 0, head.length, 0);
      const header = decodeHeader(head.subarray(0, bytesRead), path, facts.size);
      const firstLevel = Buffer.alloc(header.firstLevelEntries * 8);
      await readOrZero(file, firstLevel, header.firstLevelOffset);
      return new Layer(path, file, header, firstLevel);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get clusterCount(): number {
    return Math.ceil(this.driveBytes / clusterBytes);
  }

  /** @throws DormouseError `data_loss` when it is a layer of a drive of another size. */
  assertDriveBytes(driveBytes: number): void {
    if (this.driveBytes !== driveBytes) this.#refuse(`a drive of ${this.driveBytes} bytes, not ${driveBytes}`);
  }

  /** Calls back for each cluster that the layer holds, in ascending order. */
  async visit(onCluster: (cluster: number, kind: "zero" | "data") => void, signal?: AbortSignal): Promise<void> {
    const { size } = await this.#file.stat();
    for (let index = 0; index * tableEntries < this.clusterCount; index++) {
      signal?.throwIfAborted();
      const table = await this.#loadTable(index, size);
      if (!table) continue;
      const count = Math.min(tableEntries, this.clusterCount - index * tableEntries);
      for (let entry = 0; entry < count; entry++) {
        // Most are empty, and are not worth a number of 64 bits.
        if (table.readUInt32BE(entry * 8) === 0 && table.readUInt32BE(entry * 8 + 4) === 0) continue;
        const { kind } = this.#decode(table.readBigUInt64BE(entry * 8), size);
        if (kind !== "absent") onCluster(index * tableEntries + entry, kind);
      }
    }
  }

  /** Fills `target`, of one cluster at most, when the layer holds the cluster; says what it holds. */
  async read(cluster: number, target: Buffer): Promise<ClusterKind> {
    if (!Number.isInteger(cluster) || cluster < 0 || cluster >= this.clusterCount || target.length > clusterBytes) {
      throw new DormouseError(
        "out_of_range",
        `cluster ${cluster} with ${target.length} bytes; the drive has ${this.clusterCount} of ${clusterBytes}`,
      );
    }
    const { size } = await this.#file.stat();
    const table = await this.#loadTable(Math.floor(cluster / tableEntries), size);
    if (!table) return "absent";
    const { kind, offset } = this.#decode(table.readBigUInt64BE((cluster % tableEntries) * 8), size);
    if (kind === "zero") target.fill(0);
    if (kind === "data") await readOrZero(this.#file, target, offset);
    return kind;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #loadTable(index: number, fileBytes: number): Promise<Buffer | undefined> {
    if (this.#table?.index === index) return this.#table.entries;
    const entry = this.#firstLevel.readBigUInt64BE(index * 8);
    if (entry === 0n) return undefined;
    const offset = entry & offsetMask;
    if ((entry & ~(offsetMask | copiedBit)) !== 0n || offset === 0n) this.#refuse(`entry ${index} of its first level`);
    const entries = Buffer.alloc(clusterBytes);
    await readOrZero(this.#file, entries, this.#checkOffset(offset, fileBytes));
    this.#table = { index, entries };
    return entries;
  }

  #decode(entry: bigint, fileBytes: number): { kind: ClusterKind; offset: number } {
    // Compressed clusters (bit 62) and whatever else may come are among the bits that must not be there.
    if ((entry & ~(offsetMask | copiedBit | zeroBit)) !== 0n) this.#refuse(`an entry 0x${entry.toString(16)}`);
    const offset = entry & offsetMask;
    if ((entry & zeroBit) !== 0n) return { kind: "zero", offset: 0 };
    if (offset === 0n) return { kind: "absent", offset: 0 };
    return { kind: "data", offset: this.#checkOffset(offset, fileBytes) };
  }

  /** A cluster begins within the file; what of its end the file lacks was never written and is zero. */
  #checkOffset(offset: bigint, fileBytes: number): number {
    if (offset % BigInt(clusterBytes) !== 0n || offset >= BigInt(fileBytes)) {
      this.#refuse(`an offset ${offset} in a file of ${fileBytes} bytes`);
    }
    return Number(offset);
  }

  #refuse(what: string): never {
    throw new DormouseError("data_loss", `the drive's layer ${this.path} cannot be read: it has ${what}`);
  }
}

async function readOrZero(file: FileHandle, target: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await file.read(target, done, target.length - done, offset + done);
    if (bytesRead === 0) {
      target.fill(0, done);
      return;
    }
    done += bytesRead;
  }
}
