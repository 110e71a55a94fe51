import { createHash } from "node:crypto";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { packErofs } from "../erofs.ts";
import { type TarEntry, tarOf } from "../testing/tar.ts";
import { convertLayers } from "./layout.ts";
import { prepareTree } from "./prepare-tree.ts";
import { unpackLayout } from "./unpack.ts";

/** Everything here but `work` must stay as it is. */
let outer: string;
let work: string;
beforeEach(async () => {
  outer = await mkdtemp(join(tmpdir(), "dormouse-unpack-"));
  work = join(outer, "deep", "work");
  await mkdir(work, { recursive: true });
  await mkdir(join(outer, "folder"));
  await writeFile(join(outer, "canary"), "alive", { mode: 0o640 });
  await writeFile(join(outer, "folder", "canary"), "alive", { mode: 0o640 });
});
afterEach(() => rm(outer, { recursive: true }));

const mark = "dormouse-escape";

/** What a layer that escapes would change: the canaries and, on the host, files of a name that nothing else has. */
async function surroundings(): Promise<unknown> {
  const facts = async (path: string) => {
    const { mode, uid, gid, nlink, mtimeMs, ctimeMs } = await lstat(path);
    return { path, mode, uid, gid, nlink, mtimeMs, ctimeMs };
  };
  const own = ["canary", "folder", "folder/canary"].map((name) => facts(join(outer, name)));
  const host = ["/", "/etc", "/tmp", "/usr", "/dev", "/root"].map(async (folder) =>
    (await readdir(folder)).filter((name) => name.startsWith(mark)),
  );
  const names = [await readdir(outer), await readdir(join(outer, "folder")), await readdir(join(outer, "deep"))];
  return [await Promise.all(own), await Promise.all(host), names, await facts("/etc/passwd"), await facts("/dev/null")];
}

/** Writes an OCI layout as skopeo would, and makes of it what a pull makes. */
async function unpack(layers: readonly Buffer[], pack: (tar: Buffer) => Buffer = (tar) => tar): Promise<string> {
  await rm(work, { recursive: true });
  await mkdir(join(work, "layout/blobs/sha256"), { recursive: true });
  const layout = join(work, "layout");
  const put = async (bytes: Buffer, mediaType: string) => {
    const digest = sha256(bytes);
    await writeFile(join(layout, "blobs/sha256", digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const type = (name: string) => `application/vnd.oci.image.${name}`;
  const packed = await Promise.all(layers.map((tar) => put(pack(tar), type("layer.v1.tar+gzip"))));
  const rootfs = { type: "layers", diff_ids: layers.map(sha256) };
  const config = Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", config: {}, rootfs }));
  const manifest = { schemaVersion: 2, config: await put(config, type("config.v1+json")), layers: packed };
  const entry = await put(Buffer.from(JSON.stringify(manifest)), type("manifest.v1+json"));
  const annotations = { "org.opencontainers.image.ref.name": "image" };
  await writeFile(
    join(layout, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...entry, annotations }] }),
  );
  await writeFile(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const limits = { name: "hostile", maxBytes: 50_000_000, timeoutMs: 20_000 };
  await convertLayers(layout, limits);
  await unpackLayout({ ...limits, folder: work, report: () => {} });
  await prepareTree(join(work, "tree"));
  return join(work, "tree");
}

const sha256 = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Unpacked or refused in our words; anything else is a defect. */
async function outcome(unpacking: Promise<string>): Promise<string> {
  try {
    await unpacking;
    return "unpacked";
  } catch (error) {
    if (!(error instanceof DormouseError)) throw error;
    expect(["failed_precondition", "data_loss", "resource_exhausted"], error.stack).toContain(error.code);
    return error.message;
  }
}

const up = "../".repeat(12);

/** Layers that try to get out, each in its own way. `HERE` stands for the folder around the tree. */
const attacks: Record<string, readonly (readonly TarEntry[])[]> = {
  "dots in a path": [[{ path: `${up}tmp/${mark}` }, { path: `../${mark}` }, { path: `a/../../../${mark}` }]],
  "an absolute path": [[{ path: `/tmp/${mark}` }, { path: "HERE/canary", content: "dead" }]],
  "a link to the root, and a file through it": [
    [
      { path: "out", type: "SymbolicLink", link: "/" },
      { path: `out/tmp/${mark}` },
      { path: "outHERE/canary", content: "dead" },
    ],
  ],
  "a link of an earlier layer": [
    [{ path: "out", type: "SymbolicLink", link: "HERE" }],
    [{ path: "out/canary", content: "dead" }, { path: `out/${mark}` }, { path: "out/.wh.folder" }],
  ],
  "a link upwards": [
    [
      { path: "out", type: "SymbolicLink", link: "../../.." },
      { path: "out/canary", content: "dead" },
    ],
    [{ path: "out/folder/.wh..wh..opq" }],
  ],
  "a chain of links": [
    [
      { path: "a", type: "SymbolicLink", link: "b" },
      { path: "b", type: "SymbolicLink", link: "../.." },
      { path: "a/../canary", content: "dead" },
      { path: `a/${mark}` },
    ],
  ],
  "hard links to what lies outside": [
    [
      { path: "hard", type: "Link", link: "HERE/canary" },
      { path: "hard", content: "dead" },
    ],
    [{ path: "hard2", type: "Link", link: `${up}etc/passwd`, mode: 0o666 }],
    [{ path: "hard3", type: "Link", link: "../../../canary", mode: 0o777, uid: 1, gid: 1 }],
  ],
  "a hard link to a link to what lies outside": [
    [
      { path: "soft", type: "SymbolicLink", link: "HERE/canary" },
      { path: "hard", type: "Link", link: "soft" },
      { path: "hard", content: "dead", mode: 0o777 },
    ],
  ],
  "the root itself as a link": [
    [{ path: "./", type: "SymbolicLink", link: "/" }, { path: `tmp/${mark}` }],
    [
      { path: ".", type: "SymbolicLink", link: "HERE" },
      { path: "canary", content: "dead" },
    ],
  ],
  "deletions outside": [
    [
      { path: `${up}tmp/.wh.x` },
      { path: "../../../.wh.canary" },
      { path: "HERE/.wh.canary" },
      { path: ".wh..wh..opq" },
    ],
  ],
  // umoci 0.4.7 follows this one out of the tree, and then removes whatever its root has: see unpack.sh.
  "a deletion of the folder above": [[{ path: ".wh..." }], [{ path: "a/.wh..." }]],
  "a deletion of nothing": [[{ path: ".wh." }, { path: ".wh.." }]],
  "a device that a later file is written to": [
    [
      { path: "dev/disk", type: "BlockDevice", device: [7, 0], mode: 0o666 },
      { path: "pipe", type: "FIFO" },
    ],
    [
      { path: "dev/disk", content: "dead" },
      { path: "pipe", content: "text" },
    ],
  ],
  "links where the machine's folders and files go": [
    [
      { path: "tmp", type: "SymbolicLink", link: "HERE/folder" },
      { path: "workspaces", type: "SymbolicLink", link: "HERE/folder" },
      { path: "etc/machine-id", type: "SymbolicLink", link: "HERE/canary" },
      { path: "etc/hosts", type: "SymbolicLink", link: "HERE/canary" },
    ],
  ],
  "a link in the place of /etc": [[{ path: "etc", type: "SymbolicLink", link: "HERE/folder" }]],
  "a pipe and a device in the places of files": [
    [
      { path: "etc/machine-id", type: "FIFO" },
      { path: "etc/hosts", type: "CharacterDevice", device: [5, 1] },
    ],
  ],
};

const here = (text: string) => text.replaceAll("HERE", outer);

function layersOf(attack: readonly (readonly TarEntry[])[]): Buffer[] {
  return attack.map((layer) =>
    tarOf(layer.map((entry) => ({ ...entry, path: here(entry.path), link: entry.link && here(entry.link) }))),
  );
}

test.each(Object.entries(attacks))("hostile: %s", async (_, attack) => {
  const before = await surroundings();
  await outcome(unpack(layersOf(attack)));
  expect(await surroundings()).toEqual(before);
  expect(await readFile(join(outer, "canary"), "utf8")).toBe("alive");
});

test("links that lead out are kept as they are, and what lies behind them in the image stays inside", async () => {
  const tree = await unpack(layersOf(attacks["a link to the root, and a file through it"] ?? []));
  expect(await readlink(join(tree, "out"))).toBe("/");
  expect((await lstat(join(tree, "tmp", mark))).isFile()).toBe(true);
});

test("a place of files that is a link or a pipe is made anew; an /etc that is a link is left alone", async () => {
  const tree = await unpack(layersOf(attacks["links where the machine's folders and files go"] ?? []));
  expect((await lstat(join(tree, "tmp"))).mode & 0o7777).toBe(0o1777);
  expect((await lstat(join(tree, "workspaces"))).isDirectory()).toBe(true);
  expect((await lstat(join(tree, "etc/machine-id"))).isFile()).toBe(true);
  expect(await readlink(join(tree, "etc/hosts"))).toBe(join(outer, "canary"));
  const other = await unpack(layersOf(attacks["a link in the place of /etc"] ?? []));
  expect(await readlink(join(other, "etc"))).toBe(join(outer, "folder"));
});

test("the folder around the tree is all that umoci could reach: no device, no network, nothing of the host to write", async () => {
  // The jail without umoci: a shell in its place tries what umoci never should.
  const script = await readFile(new URL("../../oci/unpack.sh", import.meta.url), "utf8");
  const tries = `
    for path in /x /usr/x /bin/x /tmp/x /proc/x /etc/x ${outer}/x; do (: >$path) 2>/dev/null && echo "wrote $path"; done
    : >/work/inside
    mknod /work/zero c 1 5 && (: </work/zero) 2>/dev/null && echo "opened a device"
    ls /sys /etc /home /dev ${outer} 2>/dev/null
    grep -v lo: /proc/net/dev | grep :
    echo done`;
  const jail = join(outer, "jail.sh");
  await writeFile(jail, script.replace(/umoci raw .*/, `sh -c '${tries}'`));
  const isolation = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"];
  expect((await run("unshare", [...isolation, "sh", jail, work])).stdout).toBe("done\n");
  expect(await readdir(work)).toEqual(["inside", "jail", "zero"]);
});

/** Mulberry32: small, and the same everywhere. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const tame = {
  names: ["a", "b/", "b/c", "out/d", "etc/hosts", "tmp/x", ".wh.a", "b/.wh..wh..opq"],
  links: ["a", "b/c"],
};
const wild = {
  names: [
    ...["..", "../a", "a/../../b", "/", ".", "", "HERE/canary", `HERE/${mark}`, `/tmp/${mark}`, `out/${mark}`],
    ...["out/canary", "etc", "tmp", "dev/x", ".wh..", ".wh...", ".wh.", "a\n", "\u00ff", "x".repeat(300)],
  ],
  links: [
    "/",
    "..",
    "../..",
    "../../../canary",
    "HERE",
    "HERE/canary",
    "HERE/folder",
    "/etc/passwd",
    "out",
    "",
    "/dev/null",
  ],
};
const tameTypes = ["File", "Directory", "SymbolicLink"] as const;
const wildTypes = [...tameTypes, "Link", "FIFO", "CharacterDevice", "BlockDevice", "ContiguousFile"] as const;
const xattrNames = ["user.x", "trusted.overlay.opaque", "security.capability", "bad"];

function randomLayers(random: (below: number) => number): Buffer[] {
  const pick = <T>(items: readonly T[]): T => items[random(items.length)] as T;
  // Layers of which every second thing is wild are refused at once; most are to be nearly right.
  const wildness = pick([0, 5, 20, 50]);
  const isWild = () => random(100) < wildness;
  return Array.from({ length: 1 + random(3) }, () => {
    const entries = Array.from({ length: 1 + random(8) }, (): TarEntry => {
      const type = isWild() ? pick(wildTypes) : pick(tameTypes);
      return {
        type,
        path: here(pick(isWild() ? wild.names : tame.names)),
        link: type.endsWith("Link") ? here(pick(isWild() || random(2) ? wild.links : tame.links)) : undefined,
        content: type === "File" ? Buffer.alloc(random(2000), random(256)) : "",
        xattrs: isWild() ? { [pick(xattrNames)]: "y" } : undefined,
        mode: random(0o10000),
        uid: random(70_000),
        device: [1 + random(9), random(9)],
      };
    });
    const tar = tarOf(entries);
    if (isWild()) for (let flips = random(6); flips > 0; flips--) tar.writeUInt8(random(256), random(tar.length));
    return isWild() ? tar.subarray(0, random(tar.length)) : tar;
  });
}

const rounds = Number(process.env.DORMOUSE_FUZZ_ROUNDS ?? 12);
const knownSeeds: readonly number[] = [];

test(`whatever a layer holds, it stays inside: ${rounds} random images`, async () => {
  const before = await surroundings();
  const first = Number(process.env.DORMOUSE_TEST_SEED ?? 20_260_101);
  const outcomes = new Map<string, number>();
  for (const seed of [...knownSeeds, ...Array.from({ length: rounds }, (_, index) => first + index)]) {
    const random = randomOf(seed);
    const pack = [(tar: Buffer) => tar, gzipSync, (tar: Buffer) => zstdCompressSync(tar)][random(3)];
    const damage = random(20) === 0;
    const layers = randomLayers(random);
    const found = await outcome(
      unpack(layers, (tar) => {
        const packed = Buffer.from(pack?.(tar) ?? tar);
        if (damage) packed.writeUInt8(random(256), random(packed.length));
        return packed;
      }).then(async (tree) => {
        await packErofs({ tree, file: join(work, "image.erofs"), keepTimes: true });
        return tree;
      }),
    ).catch((error) => {
      throw new Error(`DORMOUSE_TEST_SEED=${seed} shows it`, { cause: error });
    });
    const kind = found === "unpacked" ? found : "refused";
    outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    expect(await surroundings(), `DORMOUSE_TEST_SEED=${seed} shows it`).toEqual(before);
  }
  // Both must be common, or the generator tries nothing.
  expect(outcomes.get("unpacked")).toBeGreaterThan(rounds / 10);
  expect(outcomes.get("refused")).toBeGreaterThan(rounds / 10);
});
