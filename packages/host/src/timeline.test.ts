import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, DormouseError, systemClock } from "@dormouse/base";
import {
  createFileStore,
  createSnapshotStore,
  type ObjectStore,
  organisationKeys,
  type StorageKey,
} from "@dormouse/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Timeline } from "./timeline.ts";

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
