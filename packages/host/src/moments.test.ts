import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import { openSeenByVmms, type SeenByVmms } from "@dormouse/compute/testing";
import type { SnapshotRef } from "@dormouse/contract";
import { createFileStore, createSnapshotStore } from "@dormouse/storage";
import { afterEach, beforeEach, expect, test } from "vitest";
import { newMachine } from "./machine.ts";
import { type MachineRecord, MachineStore } from "./machine-record.ts";
import { createMachineStarter, type StarterOptions } from "./machine-starter.ts";
import { Moments } from "./moments.ts";
import type { TemplateFolder } from "./template-folder.ts";
import { atDistance, type Distance, nearby } from "./testing/slow-store.ts";
import { Timeline } from "./timeline.ts";

const blockBytes = 65_536;
const blocks = 160;
const contentOf = (block: number) => Buffer.alloc(blockBytes, `block ${block} `);
const template = {
  ...{ name: "base", hash: "hash", bootToken: "token", resources: { vcpus: 1, memoryMib: 10, diskGib: 16 } },
} as TemplateFolder;

let folder: string;
let view: SeenByVmms;
let store: MachineStore;
let distance: Distance;
let timeline: Timeline;
let snapshot: SnapshotRef;
let lines: string[];
let opened: Moments[];
let held: AsyncDisposable[];

beforeEach(async () => {
  folder = await mkdtemp("/var/tmp/moments-test-");
  await chmod(folder, 0o711);
  [lines, opened, held, distance] = [[], [], [], nearby()];
  store = new MachineStore(join(folder, "machines"));
  await store.load(log());
  view = await openSeenByVmms(folder, []);
  const objects = atDistance(await createFileStore({ folder: join(folder, "store") }), distance);
  const snapshots = createSnapshotStore({ objects });
  timeline = new Timeline({ store: snapshots, log: log() });
  const place = { workspaceId: "ws-one", generation: 1, parent: null, name: null };
  await using writer = await snapshots.begin({ ...place, reason: "manual", compatibility: { vmm: "qemu" } });
  const [memory, disk] = [writer.memory(blocks * blockBytes), writer.disk("workspace", blocks * blockBytes)];
  for (let block = 0; block < blocks; block++) {
    await memory.write(block, contentOf(block));
    await disk.write(block, contentOf(block + 1000));
  }
  await writer.devices(Buffer.from("devices"));
  writer.facts({ tokenSalt: "salt", templateHash: "hash" });
  snapshot = { workspaceId: "ws-one", id: (await writer.publish()).id };
});
afterEach(async () => {
  Object.assign(distance, nearby());
  for (const moments of opened) await moments.close();
  for (const each of held) await each[Symbol.asyncDispose]();
  await expect.poll(() => servers(), { timeout: 5_000 }).toBe(0);
  await view[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const log = () => createLogger({ write: (line) => void lines.push(line) });

function open(options: { partialFiles?: SeenByVmms["files"] | undefined } = { partialFiles: view.files }): Moments {
  const templates = { get: () => template, ensure: async () => template };
  const moments = new Moments({ store, timeline, templates, ...options, log: log() });
  opened.push(moments);
  return moments;
}

/** A machine's record with what it starts from, whose files a machine has open. */
async function start(moments: Moments): Promise<MachineRecord & { paths: { memory: string; disk: string } }> {
  const { record } = newMachine(template, template.resources);
  Object.assign(record, await moments.fill(record, snapshot));
  const [memory, disk] = [record.memory, record.diskBase].map((name) => store.fileOf(record.machineId, name ?? ""));
  if (!memory || !disk) throw new Error("no files");
  for (const path of [memory, disk]) held.push(await view.hold(path));
  return Object.assign(record, { paths: { memory, disk } });
}

/** Without a difference of 64 KiB in the message. */
function expectContent(content: Buffer, block: number): void {
  expect(content.equals(contentOf(block)), `block ${block} begins with ${content.toString("latin1", 0, 20)}`).toBe(
    true,
  );
}

async function servers(): Promise<number> {
  let count = 0;
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(folder)) count++;
  }
  return count;
}

test("a machine's files are there at once, read right, and are files like any other once they are whole", async () => {
  const moments = open();
  distance.latencyMs = 30;
  const record = await start(moments);
  expect(record).toMatchObject({ filling: snapshot, tokenSalt: "salt", start: { layers: [] } });
  expect(moments.fillOf(record)?.isWhole).toBe(false);
  expectContent(await view.read(record.paths.memory, 159), 159);
  expectContent(await view.read(record.paths.disk, 100), 1100);
  await moments.whole(record);
  expectContent((await readFile(record.paths.memory)).subarray(159 * blockBytes), 159);
  // Who has it open is served on; who opens it now opens the file, whatever becomes of what served it.
  expect(await servers()).toBe(2);
  for (const each of held.splice(0)) await each[Symbol.asyncDispose]();
  await expect.poll(() => servers(), { timeout: 5_000 }).toBe(0);
  expectContent(await view.read(record.paths.memory, 3), 3);
  // And the next machine of the snapshot has nothing to wait for.
  const before = distance.requests;
  const next = await start(moments);
  expect(next.filling).toBe(null);
  expectContent(await view.read(next.paths.disk, 7), 1007);
  expect(distance.requests).toBe(before);
  expect(await servers()).toBe(0);
});

test("machines of one snapshot share what is fetched", async () => {
  const moments = open();
  distance.latencyMs = 30;
  const [one, two] = await Promise.all([start(moments), start(moments)]);
  expect(moments.fillOf(one)).toBe(moments.fillOf(two));
  expect(await servers()).toBe(2);
  expectContent(await view.read(one.paths.memory, 80), 80);
  expectContent(await view.read(two.paths.memory, 80), 80);
  await moments.whole(two);
});

test("files that are not whole when a daemon ends are filled by the next one", async () => {
  const first = open();
  distance.latencyMs = 50;
  const record = await start(first);
  await first.close();
  expect(await servers()).toBe(2);
  await expect(first.whole(record)).rejects.toMatchObject({ code: "cancelled" });
  const second = open();
  await expect(second.whole(record)).rejects.toThrow("nobody fills the files of machine");
  await second.resume(record);
  expectContent(await view.read(record.paths.memory, 150), 150);
  await second.whole(record);
  expectContent((await readFile(record.paths.disk)).subarray(0, blockBytes), 1000);
});

test("the next daemon gives up what is no longer shown, and what nobody has open", async () => {
  const first = open();
  distance.latencyMs = 50;
  const record = await start(first);
  await first.close();
  for (const each of held.splice(0)) await each[Symbol.asyncDispose]();
  await expect.poll(() => servers(), { timeout: 5_000 }).toBe(0);
  await expect(open().resume(record)).rejects.toMatchObject({ code: "unavailable" });
});

test("without partial files all is fetched before a machine starts", async () => {
  const moments = open({});
  const record = await start(moments);
  expect(record.filling).toBe(null);
  expect(await servers()).toBe(0);
  await moments.whole(record);
  expectContent((await readFile(record.paths.memory)).subarray(0, blockBytes), 0);
});

test("a device state that was changed on the host's own disk starts nothing, and names its machine", async () => {
  const moments = open();
  const record = await start(moments);
  await moments.whole(record);
  const touched: string[] = [];
  /** All that a start would begin with. */
  const untouchable = (name: string) =>
    new Proxy({}, { get: (_, key) => () => touched.push(`${name}.${String(key)}`) }) as never;
  const parts = { vmm: untouchable("vmm"), lanes: untouchable("lanes"), slots: untouchable("slots") };
  const options: StarterOptions = {
    ...parts,
    early: untouchable("early"),
    store,
    template: () => template,
    log: log(),
  };
  const path = store.fileOf(record.machineId, record.start?.devices ?? "");
  const whole = await readFile(path);
  for (const [position, byte] of whole.entries()) {
    await writeFile(path, whole.with(position, byte ^ 1));
    await expect(createMachineStarter(options).restoreMoment(record)).rejects.toMatchObject({
      code: "data_loss",
      message: `the device state of machine ${record.machineId} is damaged: its SHA-256 does not fit`,
    });
  }
  await writeFile(path, whole.subarray(1));
  await expect(createMachineStarter(options).restoreMoment(record)).rejects.toMatchObject({ code: "data_loss" });
  expect(touched).toEqual([]);
});
