import { Header, type HeaderData } from "tar";

/** An entry of a tar file, however odd: paths are written as they are. */
export interface TarEntry {
  path: string;
  /** Default: a file, or a folder when the path ends with `/`. */
  type?: HeaderData["type"];
  content?: string | Buffer;
  /** Default 0644, of folders 0755. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Where links lead. */
  link?: string;
  xattrs?: Record<string, string | Buffer>;
  /** Major and minor number of a device. */
  device?: readonly [number, number];
}

/** Seconds since the epoch that all entries bear: fixed, so that equal trees are equal layers. */
export const entryTime = 1_700_000_000;

/** A tar file (POSIX, as in https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) of these entries. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(encode), Buffer.alloc(1024)]);
}

function encode(entry: TarEntry): Buffer[] {
  const xattrs = Object.entries(entry.xattrs ?? {}).map(
    ([name, value]) => [`SCHILY.xattr.${name}`, Buffer.from(value)] as const,
  );
  const long = Buffer.byteLength(entry.path) > 100 ? [["path", Buffer.from(entry.path)] as const] : [];
  const records = Buffer.concat([...long, ...xattrs].map(([key, value]) => record(key, value)));
  const isFolder = entry.type === undefined && entry.path.endsWith("/");
  const type = entry.type ?? (isFolder ? "Directory" : "File");
  const content = Buffer.from(entry.content ?? "");
  const main = block(
    {
      path: entry.path.slice(0, 100),
      type,
      mode: entry.mode ?? (type === "Directory" ? 0o755 : 0o644),
      uid: entry.uid ?? 0,
      gid: entry.gid ?? 0,
      size: content.length,
      linkpath: entry.link,
      devmaj: entry.device?.[0],
      devmin: entry.device?.[1],
    },
    content,
  );
  if (records.length === 0) return main;
  return [...block({ path: "pax", type: "ExtendedHeader", mode: 0o644, size: records.length }, records), ...main];
}

function block(data: HeaderData, content: Buffer): Buffer[] {
  const header = Buffer.alloc(512);
  new Header({ ...data, mtime: new Date(entryTime * 1000) }).encode(header);
  return [header, content, Buffer.alloc((512 - (content.length % 512)) % 512)];
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}
