import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError, sleep } from "@dormouse/base";
import { openSeenByVmms, type SeenByVmms } from "@dormouse/compute/testing";
import { createFileStore, createSnapshotStore, type ImageReader, type ObjectStore } from "@dormouse/storage";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type Fill, type FillOptions, startFill } from "./fill.ts";

const blockBytes = 65_536;
const blocks = 600;
const bytes = blocks * blockBytes;
/** Every third block is zeros. */
const isStored = (block: number) => block % 3 !== 0;
/** Half of each is noise, so that the store has something to keep. */
const contents = Array.from({ length: blocks }, (_, block) =>
  isStored(block) ? Buffer.concat([randomBytes(blockBytes / 2)], blockBytes) : Buffer.alloc(blockBytes),
);
const contentOf = (block: number) => contents[block] ?? Buffer.alloc(0);

/** What the store does with each request for a part of an object. */
let onGet: (get: () => Promise<Buffer>) => Promise<Buffer>;
let cache: string;
let folder: string;
let view: SeenByVmms;
let image: ImageReader;
let file: string;
let fills: Fill[];
const socket = () => `${file}.fill`;

beforeAll(async () => {
  cache = await mkdtemp("/var/tmp/fill-test-");
});
afterAll(() => rm(cache, { recursive: true, force: true }));
beforeEach(async () => {
  folder = await mkdtemp("/var/tmp/fill-test-");
  await chmod(folder, 0o711);
  view = await openSeenByVmms(cache, [folder]);
  onGet = (get) => get();
  const stored = await createFileStore({ folder: join(folder, "store") });
  const objects: ObjectStore = { ...stored, get: (key, options) => onGet(() => stored.get(key, options)) };
  const store = createSnapshotStore({ objects });
  const place = { workspaceId: "ws-fill", generation: 1, parent: null, name: null };
  const writer = await store.begin({ ...place, reason: "periodic", compatibility: {} });
  const memory = writer.memory(bytes);
  for (let block = 0; block < blocks; block++) if (isStored(block)) await memory.write(block, contentOf(block));
  await writer.devices(Buffer.from("devices"));
  const { id } = await writer.publish();
  const reader = await store.open("ws-fill", id);
  if (!reader.memory) throw new Error("no memory");
  image = reader.memory;
  file = join(folder, "memory");
  await using empty = await open(file, "wx");
  await empty.truncate(bytes);
  fills = [];
  await view.files.serve(file, socket());
});
afterEach(async () => {
  for (const fill of fills) await fill.stop();
  await expect.poll(() => serverPid(), { timeout: 5_000 }).toBeUndefined();
  await view[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** What is fetched for nobody, many blocks at once, waits for `gate`. */
async function fillWith(
  first: readonly number[] = [],
  options: FillOptions = {},
  gate: Promise<void> = Promise.resolve(),
): Promise<Fill> {
  const gated: ImageReader = {
    ...image,
    async readBlocks(wanted, onBlock, signal) {
      const aborted = new Promise<void>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      aborted.catch(() => {});
      if (wanted.length > 3) await Promise.race([gate, aborted]);
      await image.readBlocks(wanted, onBlock, signal);
    },
  };
  const fill = await startFill([{ file, socket: socket(), image: gated, first }], options);
  fills.push(fill);
  return fill;
}

/** As a machine would. */
const read = (block: number) => view.read(file, block);

async function serverPid(): Promise<number | undefined> {
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(file)) return Number(pid);
  }
  return undefined;
}

test("what is asked for comes before the rest, and then the file is the image", async () => {
  const gate = Promise.withResolvers<void>();
  const fill = await fillWith([], {}, gate.promise);
  expect((await read(599)).equals(contentOf(599))).toBe(true);
  expect((await read(300)).equals(contentOf(300))).toBe(true);
  const { present, total } = fill.progress();
  expect(total).toBe(blocks);
  expect(present).toBeLessThan(total);
  gate.resolve();
  await fill.whole;
  expect(fill.isWhole).toBe(true);
  expect(fill.progress()).toEqual({ present: blocks, total: blocks });
  const whole = await readFile(file);
  for (let block = 0; block < blocks; block++) {
    expect(whole.subarray(block * blockBytes, (block + 1) * blockBytes).equals(contentOf(block))).toBe(true);
  }
  expect((await stat(file)).blocks * 512).toBeLessThanOrEqual((bytes * 2) / 3 + blockBytes);
});

test("the working set is fetched before all others that nobody waits for", async () => {
  const order: number[] = [];
  const noting: ImageReader = {
    ...image,
    readBlocks: (wanted, onBlock, signal) => {
      order.push(...wanted);
      return image.readBlocks(wanted, onBlock, signal);
    },
  };
  const first = Array.from({ length: 100 }, (_, index) => blocks - 1 - index);
  const fill = await startFill([{ file, socket: socket(), image: noting, first }]);
  fills.push(fill);
  await fill.whole;
  const expected = first.filter(isStored);
  expect(order.slice(0, expected.length)).toEqual(expected);
  expect(order).toHaveLength(400);
});

test("readers wait while nobody fills; the next one goes on where the last one was", async () => {
  const first = await fillWith([], {}, new Promise(() => {}));
  expect((await read(200)).equals(contentOf(200))).toBe(true);
  // Or what shows it would end.
  await using _holder = await view.hold(file);
  const gate = Promise.withResolvers<Buffer>();
  gate.promise.catch(() => {});
  onGet = () => gate.promise;
  const waiting = read(401);
  const stopped = first.stop();
  gate.reject(new DormouseError("unavailable", "the store is away"));
  await stopped;
  await expect(first.whole).rejects.toMatchObject({ code: "cancelled" });
  const before = first.progress().present;
  expect(before).toBeLessThan(blocks);
  expect(await Promise.race([waiting.then(() => "answered"), sleep(300).then(() => "waits")])).toBe("waits");
  onGet = (get) => get();
  const next = await fillWith();
  expect(next.progress().present).toBeGreaterThanOrEqual(before);
  expect((await waiting).equals(contentOf(401))).toBe(true);
  await next.whole;
});

test("a store that fails is asked again, for so long", async () => {
  let failures = 3;
  onGet = async (get) => {
    if (failures-- > 0) throw new DormouseError("unavailable", "the store is away");
    return get();
  };
  const patient = await fillWith();
  expect((await read(100)).equals(contentOf(100))).toBe(true);
  await patient.whole;
});

test("a store that fails for too long is given up, and readers get an error", async () => {
  onGet = async () => {
    throw new DormouseError("unavailable", "the store is away");
  };
  const fill = await fillWith([], { giveUpMs: 500 });
  await expect(read(100)).rejects.toThrow("Input/output error");
  await expect(fill.whole).rejects.toThrow("the store gave nothing for 500 ms: the store is away");
  expect(fill.failure?.code).toBe("unavailable");
});

test("a block that is not what was stored is shown to nobody", async () => {
  const packs = (await readdir(join(folder, "store"), { recursive: true })).filter((name) => /packs\/.+/.test(name));
  for (const name of packs) {
    const path = join(folder, "store", name);
    const content = await readFile(path).catch(() => undefined);
    if (!content) continue;
    // One bit in each of many blocks; header and index are somewhere else.
    for (let at = 4000; at < content.length / 2; at += 4000) content.writeUInt8(content.readUInt8(at) ^ 1, at);
    await writeFile(path, content);
  }
  const fill = await fillWith();
  const reading = expect(read(1)).rejects.toThrow("Input/output error");
  await expect(fill.whole).rejects.toMatchObject({ code: "data_loss" });
  await reading;
  expect(fill.failure?.message).toMatch(/pack [0-9a-f]{32}/);
});

test("a file that is no longer shown is given up", async () => {
  onGet = async (get) => {
    await sleep(50);
    return get();
  };
  const fill = await fillWith();
  const pid = await serverPid();
  if (pid === undefined) throw new Error("nothing shows the file");
  process.kill(pid, "SIGKILL");
  await expect(fill.whole).rejects.toThrow("is no longer shown to machines");
});

test("what nobody uses any more is not fetched, and what shows it ends", async () => {
  onGet = async (get) => {
    await sleep(50);
    return get();
  };
  const fill = await fillWith();
  fill.endWhenUnused();
  await expect(fill.whole).rejects.toMatchObject({ code: "cancelled" });
  await expect.poll(() => serverPid(), { timeout: 5_000 }).toBeUndefined();
});
