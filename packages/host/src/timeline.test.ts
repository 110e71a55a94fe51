import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { createLogger, DormouseError, systemClock } from "@dormouse/base";
import { BlockSet, type Capture } from "@dormouse/compute";
import {
  createFileStore,
  createSnapshotStore,
  type ObjectStore,
  organisationKeys,
  type StorageKey,
} from "@dormouse/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Timeline } from "./timeline.ts";
import { encodeTouched } from "./touched.ts";

const workspaceId = "ws-one";
const minuteMs = 60_000;
let folder: string;
let objects: ObjectStore;
let lines: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "timeline-"));
  objects = await createFileStore({ folder });
  lines = [];
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

function timelineOf(from: ObjectStore): Timeline {
  const log = createLogger({ write: (line) => void lines.push(line) });
  return new Timeline({ store: createSnapshotStore({ objects: from }), log });
}

/** Stores a small snapshot as one that was taken at this time. */
async function storeAt(timeMs: number): Promise<string> {
  const store = createSnapshotStore({ objects, clock: { ...systemClock, nowMs: () => timeMs } });
  const place = { workspaceId, generation: 1, parent: null, name: null };
  await using writer = await store.begin({ ...place, reason: "periodic", compatibility: { vmm: "qemu" } });
  await writer.disk("workspace", 4096).write(0, Buffer.alloc(4096, timeMs % 251));
  await writer.devices(Buffer.from("devices"));
  return (await writer.publish()).id;
}

const idsOf = async (timeline: Timeline) => (await timeline.list(workspaceId)).map(({ id }) => id);

test("pruning removes what retention does not keep, says what is left, and rests for a while", async () => {
  const hour = Math.floor(Date.now() / (60 * minuteMs)) * 60 * minuteMs;
  const [older, newer] = [await storeAt(hour - 180 * minuteMs), await storeAt(hour - 150 * minuteMs)];
  const newest = await storeAt(hour);
  const timeline = timelineOf(objects);
  expect(await idsOf(timeline)).toEqual([newest, newer, older]);
  expect(await timeline.prune(workspaceId)).toBeGreaterThan(0);
  expect(await idsOf(timeline)).toEqual([newest, newer]);
  expect(await timeline.prune(workspaceId)).toBeUndefined();
});

test("a store that fails while it is tidied up costs nobody the snapshot that was just kept", async () => {
  const kept = await storeAt(Date.now());
  const failing: ObjectStore = {
    ...objects,
    get: (key, options) => objects.get(key, options),
    // biome-ignore lint/correctness/useYield: it fails before there is anything to yield
    async *list() {
      throw new DormouseError("unavailable", "the store is away");
    },
  };
  expect(await timelineOf(failing).prune(workspaceId)).toBeUndefined();
  expect(lines.join()).toContain("old snapshots were not removed");
  expect(lines.join()).toContain("the store is away");
  expect(await idsOf(timelineOf(objects))).toEqual([kept]);
});

test("a machine starts from its organisation's snapshots and everybody's, and from no other's", async () => {
  const keys = organisationKeys({ id: "installation", bytes: Buffer.alloc(32, 3) });
  const store = createSnapshotStore({ objects, findKey: keys.find });
  const timeline = new Timeline({ store, keys, log: createLogger({ write: (line) => void lines.push(line) }) });
  const write = async (of: string, key: StorageKey) => {
    await using writer = await store.begin({ workspaceId: of, generation: 1, reason: "fork", parent: null, key });
    await writer.disk("workspace", 4096).write(0, Buffer.alloc(4096, 1));
    await writer.devices(Buffer.from("devices"));
    return { workspaceId: of, id: (await writer.publish()).id };
  };
  const shared = await write("ws-shared", keys.of(undefined));
  const own = await write("ws-own", keys.of("org-a"));
  expect(timeline.isShared(await timeline.open(shared, { organisationId: "org-a" }))).toBe(true);
  expect(timeline.isShared(await timeline.open(own, { organisationId: "org-a" }))).toBe(false);
  expect((await timeline.open(shared, { organisationId: undefined })).manifest.id).toBe(shared.id);
  for (const [organisationId, allowed] of [
    ["org-b", "installation or installation.org-b"],
    [undefined, "installation"],
  ] as const) {
    await expect(timeline.open(own, { organisationId })).rejects.toMatchObject({
      code: "failed_precondition",
      message: `snapshot ${own.id} of ws-own is sealed with key installation.org-a; it must be with ${allowed}`,
    });
  }
});

/** A capture of a machine of 1 MiB that wrote nothing. */
function emptyCapture(): Capture {
  const nothing = { bytes: 1024 ** 2, blocks: new Uint32Array(), read: async () => {} };
  return {
    ...{
      pauseMs: 1,
      totalMs: 2,
      rounds: 1,
      copiedBytes: 0,
      copiedStoppedBytes: 0,
      layers: [],
      devices: Buffer.from("devices"),
    },
    identity: {
      ...{ vmm: "qemu", vmmVersion: "10.0.0", accelerator: "tcg", machineType: "microvm", cpu: "qemu64", tscKhz: 1 },
      resources: { vcpus: 1, memoryMib: 1 },
    },
    memory: { ...nothing, isComplete: true },
    disk: nothing,
    confirm: async () => {},
    linkLayers: async () => [],
    [Symbol.asyncDispose]: async () => {},
  };
}

test("what a machine had touched is kept with its snapshot; a list that makes no sense says nothing", async () => {
  const timeline = timelineOf(objects);
  const disk = join(folder, "disk");
  await writeFile(disk, Buffer.alloc(1024 ** 2));
  const keep = async (blocks: BlockSet | null) => {
    const { id } = await timeline.keep({
      ...{ workspaceId, organisationId: undefined, generation: 1, reason: "manual", parent: null },
      facts: { git: null, processes: null },
      capture: emptyCapture(),
      touched: blocks && encodeTouched(blocks),
      base: { memory: null, disk },
      baseIsWhole: async () => {},
      origin: { tokenSalt: "salt", templateHash: "hash" },
    });
    return await timeline.open({ workspaceId, id }, { organisationId: undefined });
  };
  expect(timeline.touchedOf(await keep(null))).toEqual([]);
  const touched = new BlockSet(16);
  for (const block of [0, 3, 15]) touched.add(block);
  const reader = await keep(touched);
  expect(timeline.touchedOf(reader)).toEqual([0, 3, 15]);
  const withFacts = (facts: Record<string, string>) => ({ ...reader, manifest: { ...reader.manifest, facts } });
  const far = deflateRawSync(Buffer.alloc(1_000_000)).toString("base64");
  for (const list of ["", "AAAA", "no base64!", far]) {
    expect(timeline.touchedOf(withFacts({ touched: list }))).toEqual([]);
  }
  expect(timeline.touchedOf(withFacts({}))).toEqual([]);
});

test("a snapshot without a parent waits until what it begins with is whole", async () => {
  const timeline = timelineOf(objects);
  const disk = join(folder, "disk");
  const order: string[] = [];
  await timeline.keep({
    ...{ workspaceId, organisationId: undefined, generation: 1, reason: "manual", parent: null },
    facts: { git: null, processes: null },
    capture: emptyCapture(),
    touched: null,
    base: { memory: null, disk },
    baseIsWhole: async () => {
      order.push("whole");
      await writeFile(disk, Buffer.alloc(1024 ** 2, 7));
    },
    origin: { tokenSalt: "salt", templateHash: "hash" },
  });
  expect(order).toEqual(["whole"]);
});
