import { randomBytes, randomInt } from "node:crypto";
import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLayer } from "./create-layer.ts";
import { clusterBytes } from "./format.ts";
import { Layer } from "./layer.ts";
import { openLayers } from "./layers.ts";

const mib = 1024 * 1024;
let folder: string;
let hasQemuTools: boolean;
const path = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dormouse-layer-"));
  hasQemuTools = await run("qemu-img", ["--version"]).then(
    () => true,
    () => false,
  );
  if (!hasQemuTools) process.stderr.write("qemu-utils is not installed: layers are not compared with qemu-img\n");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Changes a layer as a VMM would. */
async function qemuIo(file: string, ...commands: string[]): Promise<void> {
  await run("qemu-io", ["-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), file]);
}

async function clustersOf(file: string): Promise<[number, string][]> {
  await using layer = await Layer.open(file);
  const found: [number, string][] = [];
  await layer.visit((cluster, kind) => found.push([cluster, kind]));
  return found;
}

describe("an empty layer", () => {
  test.each([512, 64 * mib, 10 * 1024 * mib + 512, 16 * 1024 ** 4])(
    "of a drive of %d bytes holds nothing",
    async (bytes) => {
      const file = path(`empty-${bytes}`);
      await createLayer(file, bytes);
      expect(await clustersOf(file)).toEqual([]);
      const { size, blocks } = await stat(file);
      expect(size).toBeLessThanOrEqual(7 * clusterBytes);
      expect(blocks * 512).toBeLessThanOrEqual(64 * 1024);
      if (!hasQemuTools) return;
      await run("qemu-img", ["check", "-f", "qcow2", file]);
      const { stdout } = await run("qemu-img", ["info", "--output=json", "-f", "qcow2", file]);
      expect(JSON.parse(stdout)).toMatchObject({ "virtual-size": bytes, "cluster-size": clusterBytes });
    },
  );

  test("is refused for a size that a drive cannot have, and a path that is taken", async () => {
    await expect(createLayer(path("odd"), 1000)).rejects.toThrow(
      "a drive has 1000 bytes; it must be a multiple of 512 up to 17592186044416",
    );
    await createLayer(path("twice"), mib);
    await writeFile(path("twice"), "mine");
    await expect(createLayer(path("twice"), mib)).rejects.toMatchObject({ code: "EEXIST" });
    expect(await readFile(path("twice"), "utf8")).toBe("mine");
  });
});

describe("what QEMU wrote", () => {
  test("is found and read as QEMU reads it", async (context) => {
    if (!hasQemuTools) return context.skip();
    // Beyond one table of the second level, and with an end inside a cluster.
    const bytes = 600 * mib + 4096;
    const [base, ...files] = ["base", "low", "high"].map(path);
    if (!base) throw new Error("no base");
    await writeFile(base, "");
    await truncate(base, bytes);
    for (const file of files) await createLayer(file, bytes);
    const [low = "", high = ""] = files;
    await qemuIo(low, "write -P 1 0 4k", "write -P 2 1M 300k", `write -P 3 ${600 * mib} 4k`, "write -P 4 512M 64k");
    await qemuIo(
      high,
      "write -P 5 1088k 64k",
      "write -z 512M 64k",
      "write -z -u 5M 128k",
      "discard 1088k 64k",
      "write -P 6 70M 1",
    );
    const lastCluster = (600 * mib) / clusterBytes;
    expect(await clustersOf(low)).toEqual([
      ...[0, 16, 17, 18, 19, 20].map((cluster) => [cluster, "data"]),
      [8192, "data"],
      [lastCluster, "data"],
    ]);
    expect((await clustersOf(high)).map(([cluster]) => cluster)).toEqual([17, 80, 81, 1120, 8192]);

    const whole = path("whole");
    // QEMU's own view of the same stack.
    await run("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", base, low]);
    await run("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", low, high]);
    await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", high, whole]);
    await using stack = await openLayers(files, bytes);
    const expected = await open(whole);
    const [here, there] = [Buffer.alloc(clusterBytes), Buffer.alloc(clusterBytes)];
    for (let block = 0; block * clusterBytes < bytes; block++) {
      const size = Math.min(clusterBytes, bytes - block * clusterBytes);
      if (stack.blocks.includes(block)) await stack.read(block, here.subarray(0, size));
      else here.fill(0);
      await expected.read(there, 0, size, block * clusterBytes);
      if (!here.subarray(0, size).equals(there.subarray(0, size))) throw new Error(`block ${block} differs`);
    }
    await expected.close();
  });

  test("is refused when it is of another kind", async (context) => {
    if (!hasQemuTools) return context.skip();
    const create = async (name: string, options: string) => {
      await run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, path(name), "64M"]);
      return path(name);
    };
    for (const [options, why] of [
      ["compat=0.10", "the version is 2, not 3"],
      ["cluster_size=32k", "cluster bits is 15, not 16"],
      ["extended_l2=on", "incompatible features is 16, not 0"],
      ["lazy_refcounts=on", "compatible features is 1, not 0"],
      ["refcount_bits=8", "the refcount order is 3, not 4"],
      [`data_file=${path("outside")}`, "incompatible features is 4, not 0"],
    ] as const) {
      const file = await create(`kind-${options.replaceAll("/", "_")}`, options);
      await expect(Layer.open(file)).rejects.toMatchObject({
        code: "data_loss",
        message: `the drive's layer ${file} cannot be read: ${why}`,
      });
    }
    const raw = path("raw");
    await writeFile(raw, randomBytes(mib));
    await run("qemu-img", ["convert", "-c", "-O", "qcow2", "-f", "raw", raw, path("compressed")]);
    await writeFile(raw, Buffer.alloc(mib, "compressible"));
    await run("qemu-img", ["convert", "-c", "-O", "qcow2", "-f", "raw", raw, path("compressed")]);
    await expect(clustersOf(path("compressed"))).rejects.toThrow("cannot be read: it has an entry 0x4");
    const snapshots = await create("snapshots", "preallocation=off");
    await run("qemu-img", ["snapshot", "-c", "one", snapshots]);
    await expect(Layer.open(snapshots)).rejects.toThrow("the number of snapshots is 1, not 0");
  });
});

describe("a hostile layer", () => {
  test("neither crashes the reader nor leads it out of the file, whatever is changed in it", async () => {
    const seed = Number(process.env.DORMOUSE_TEST_SEED ?? randomInt(2 ** 31));
    const random = generator(seed);
    const bytes = 64 * mib;
    const original = await handMadeLayer(bytes);
    const file = path("mutated");
    const target = Buffer.alloc(clusterBytes);
    let [accepted, refused] = [0, 0];
    await writeFile(file, original);
    const handle = await open(file, "r+");
    for (let round = 0; round < 3000; round++) {
      // Mostly where the numbers are: header, first level, table.
      const places = Array.from({ length: 1 + random(4) }, () => {
        const region = [0, 3 * clusterBytes, 4 * clusterBytes][random(3)] ?? 0;
        return (region + random(random(2) === 0 ? 128 : 4096)) & ~7;
      });
      for (const at of places) {
        const changed = Buffer.from(original.subarray(at, at + 8));
        if (random(2) === 0) changed.writeBigUInt64BE(BigInt(random(2 ** 31)) << BigInt(random(33)));
        else changed[random(8)] = 1 << random(8);
        await handle.write(changed, 0, 8, at);
      }
      const isTruncated = random(20) === 0;
      if (isTruncated) await handle.truncate(random(original.length));
      try {
        await using layer = await Layer.open(file);
        const clusters: number[] = [];
        await layer.visit((cluster) => clusters.push(cluster));
        for (const cluster of clusters.slice(0, 20)) await layer.read(cluster, target);
        accepted++;
      } catch (error) {
        // Only ever its own words: never a RangeError of a buffer, never an error of the system.
        if (!(error instanceof DormouseError) || error.code !== "data_loss") {
          throw new Error(`seed ${seed}, round ${round}: ${error}`, { cause: error });
        }
        refused++;
      }
      for (const at of places) await handle.write(original, at, 8, at);
      if (isTruncated) await handle.write(original, 0, original.length, 0);
    }
    await handle.close();
    expect(refused, `seed ${seed}`).toBeGreaterThan(500);
    expect(accepted, `seed ${seed}`).toBeGreaterThan(200);
  });

  test("is refused by name", async () => {
    const original = await handMadeLayer(64 * mib);
    const file = path("one-change");
    const refusal = async (at: number, value: bigint) => {
      const changed = Buffer.from(original);
      changed.writeBigUInt64BE(value, at);
      await writeFile(file, changed);
      return await clustersOf(file).then(
        () => "accepted",
        (error: Error) => error.message.replace(`the drive's layer ${file} cannot be read: `, ""),
      );
    };
    const table = 4 * clusterBytes;
    expect(await refusal(table, 1n << 62n)).toBe("it has an entry 0x4000000000000000");
    expect(await refusal(table, 0x1000n)).toBe("it has an offset 4096 in a file of 458752 bytes");
    expect(await refusal(table, 0xffff_ffff_0000n)).toBe("it has an offset 281474976645120 in a file of 458752 bytes");
    expect(await refusal(3 * clusterBytes, 2n)).toBe("it has entry 0 of its first level");
    expect(await refusal(24, 1n << 60n)).toBe("the drive's size is 1152921504606847000");
    expect(await refusal(24, BigInt(1024 * mib))).toBe("the number of entries of the first level is 1, not 2");
    expect(await refusal(40, 1n << 40n)).toBe("its first level lies at 1099511627776 of 458752 bytes");
    await writeFile(file, original.subarray(0, 100));
    await expect(Layer.open(file)).rejects.toThrow("it has 100 bytes, fewer than a header");
    await expect(openLayers([await keptLayer(mib)], 2 * mib)).rejects.toThrow(
      "it has a drive of 1048576 bytes, not 2097152",
    );
  });

  test("is not read beyond the drive", async () => {
    await using layer = await Layer.open(await keptLayer(mib));
    const target = Buffer.alloc(clusterBytes);
    for (const cluster of [-1, 16, 0.5, Number.NaN]) {
      await expect(layer.read(cluster, target)).rejects.toMatchObject({ code: "out_of_range" });
    }
    await expect(layer.read(0, Buffer.alloc(clusterBytes + 1))).rejects.toMatchObject({ code: "out_of_range" });
  });
});

async function keptLayer(bytes: number): Promise<string> {
  const file = path(`kept-${randomBytes(4).toString("hex")}`);
  await createLayer(file, bytes);
  return file;
}

/** A layer with a table, two clusters of content and one of zeros, as bytes. */
async function handMadeLayer(bytes: number): Promise<Buffer> {
  const empty = await readFile(await keptLayer(bytes));
  const layer = Buffer.concat([empty, Buffer.alloc(3 * clusterBytes)]);
  const table = 4 * clusterBytes;
  layer.writeBigUInt64BE((1n << 63n) | BigInt(table), 3 * clusterBytes);
  layer.writeBigUInt64BE((1n << 63n) | BigInt(5 * clusterBytes), table);
  layer.writeBigUInt64BE((1n << 63n) | BigInt(6 * clusterBytes), table + 7 * 8);
  layer.writeBigUInt64BE(1n, table + 9 * 8);
  layer.fill(7, 5 * clusterBytes);
  return layer;
}

/** Numbers below a limit, the same for the same seed (mulberry32). */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}
