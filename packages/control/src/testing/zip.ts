import { crc32, deflateRawSync } from "node:zlib";

/** A file of a zip archive, as it should say it is: right or not. */
export interface ZipEntry {
  name: string;
  content?: string | Buffer;
  /** `st_mode`, as Unix programs write it; default: a file that its owner may write. */
  mode?: number;
  /** Says another size than the content has. */
  claimedBytes?: number;
  isEncrypted?: boolean;
}

const deflated = 8;
const madeByUnix = 3 << 8;

/** A zip archive (PKWARE's APPNOTE 6.3), with whatever names and attributes the entries have. */
export function zipOf(entries: readonly ZipEntry[]): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content = "", mode = 0o100644, claimedBytes, isEncrypted = false } of entries) {
    const bytes = Buffer.from(content);
    const packed = deflateRawSync(bytes);
    const nameBytes = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    // Names are UTF-8 (bit 11).
    common.writeUInt16LE(0x800 | (isEncrypted ? 1 : 0), 2);
    common.writeUInt16LE(deflated, 4);
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(claimedBytes ?? bytes.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const head = Buffer.concat([Buffer.from("PK\x03\x04"), common, nameBytes]);
    const entry = Buffer.alloc(46);
    entry.write("PK\x01\x02", 0, "latin1");
    entry.writeUInt16LE(madeByUnix | 20, 4);
    common.copy(entry, 6);
    entry.writeUInt32LE((mode << 16) >>> 0, 38);
    entry.writeUInt32LE(offset, 42);
    directory.push(entry, nameBytes);
    files.push(head, packed);
    offset += head.length + packed.length;
  }
  const table = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(table.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...files, table, end]);
}

/** A `.vsix` file: what `package.json` says, and files below the extension's folder. */
export function vsixOf(manifest: Record<string, unknown>, files: Readonly<Record<string, string>> = {}): Buffer {
  const whole = { publisher: "ada", version: "1.0.0", engines: { vscode: "^1.60.0" }, ...manifest };
  const content = { "package.json": JSON.stringify(whole), ...files };
  return zipOf(Object.entries(content).map(([name, text]) => ({ name: `extension/${name}`, content: text })));
}
