import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { type TarEntry, tarOf } from "../testing/tar.ts";
import { readFeatureArchive } from "./feature-archive.ts";

const read = (entries: readonly TarEntry[]) => readFeatureArchive(tarOf(entries), "example");

test("files with their modes, however their paths are written", async () => {
  const entries: TarEntry[] = [
    { path: "./" },
    { path: "./install.sh", content: "one", mode: 0o4755 },
    { path: "lib//./deep/" },
    { path: "lib//./deep/file", content: "two" },
    { path: "install.sh", content: "three", mode: 0o700 },
    { path: `${"long/".repeat(40)}name`, content: "four" },
  ];
  const expected = [
    { path: "install.sh", mode: 0o700, content: Buffer.from("three") },
    { path: "lib/deep/file", mode: 0o644, content: Buffer.from("two") },
    { path: `${"long/".repeat(40)}name`, mode: 0o644, content: Buffer.from("four") },
  ];
  expect(await read(entries)).toEqual(expected);
  expect(await readFeatureArchive(gzipSync(tarOf(entries)), "example")).toEqual(expected);
  expect(await readFeatureArchive(Buffer.alloc(1024), "example").catch((error) => error.message)).toContain(
    "no whole tar",
  );
});

test.each<[TarEntry, string]>([
  [{ path: "../x" }, 'feature example: entry "../x" of its archive is refused: its path has .. in it'],
  [{ path: "a/../../x" }, "its path has .. in it"],
  [{ path: "a/..", type: "Directory" }, "its path has .. in it"],
  [{ path: "/etc/x" }, "its path is absolute"],
  [
    { path: "link", type: "SymbolicLink", link: "install.sh" },
    'entry "link" of its archive is refused: it is a SymbolicLink',
  ],
  [{ path: "hard", type: "Link", link: "install.sh" }, "it is a Link"],
  [{ path: "pipe", type: "FIFO" }, "it is a FIFO"],
  [{ path: "device", type: "BlockDevice", device: [7, 0] }, "it is a BlockDevice"],
  [{ path: "sparse", type: "SolarisACL" }, "it is a SolarisACL"],
  [{ path: "install.sh/x" }, '"install.sh" is a file'],
])("%j is refused", async (entry, message) => {
  await expect(read([{ path: "install.sh", content: "x" }, entry])).rejects.toThrow(message);
});

test("limits: of files, of size, compressed or not", async () => {
  const many = Array.from({ length: 2001 }, (_, index) => ({ path: `file-${index}` }));
  await expect(read(many)).rejects.toThrow("feature example: its archive holds more than 2000 files");
  const large = tarOf([{ path: "large", content: Buffer.alloc(65 * 1024 ** 2) }]);
  await expect(readFeatureArchive(large, "example")).rejects.toThrow("its archive holds more than 64 MiB");
  const bomb = gzipSync(Buffer.alloc(100 * 1024 ** 2));
  await expect(readFeatureArchive(bomb, "example")).rejects.toThrow("its archive holds more than 64 MiB");
  const twice = gzipSync(gzipSync(tarOf([{ path: "install.sh" }])));
  await expect(readFeatureArchive(twice, "example")).rejects.toThrow("its archive is no whole tar file");
});

test("cut short anywhere, it is an error or a shorter list, and ends", async () => {
  const tar = tarOf([
    { path: "install.sh", content: "x".repeat(1000) },
    { path: "other", content: "y".repeat(1000), xattrs: { "user.x": "y" } },
  ]);
  for (let length = 0; length < tar.length; length += 97) {
    const result = await readFeatureArchive(tar.subarray(0, length), "example").catch((error) => error.message);
    if (typeof result === "string") expect(result).toContain("no whole tar file");
    else for (const file of result) expect(file.content.length).toBe(1000);
  }
});
