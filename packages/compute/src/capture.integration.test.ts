import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readdir, readFile, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createId } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openGuestMemory } from "./guest-memory.ts";
import { listLayers, removeOtherLayers } from "./layer-folder.ts";
import { createQemuVmm } from "./qemu/driver.ts";
import { applyCapture, type KeptSnapshot, keepSnapshot, stateOf } from "./testing/capture-guest.ts";
import { createTestGuest, type RawBootSpec, type TestGuest } from "./testing/test-guest.ts";
import type { Capture, LayeredDrive, Machine, RestoreSpec, Vmm } from "./vmm.ts";

let guest: TestGuest;
let vmm: Vmm;
let template: string;
let templateSpec: RawBootSpec;
let folders: string[];
const newId = () => createId("machine");
const scratch = () => join(guest.folder, createId("scratch"));

beforeAll(async () => {
  guest = await createTestGuest();
  templateSpec = await guest.spec(newId());
  folders = [guest.folder, dirname(templateSpec.kernel), dirname(templateSpec.initramfs)];
  vmm = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg", folders });
  template = join(guest.folder, "template");
  const isReady = (signal: AbortSignal) => guest.isReady(templateSpec.slot, signal);
  await vmm.bootTemplate(templateSpec, { dir: template, isReady });
});
// A test that failed does not take the next one's slots with it.
afterEach(async () => {
  for (const id of await vmm.list()) await vmm.reclaim(id);
});
afterAll(async () => {
  await vmm?.close();
  await guest?.[Symbol.asyncDispose]();
});

async function restoreSpec(index: number, more: Partial<RestoreSpec> = {}): Promise<RestoreSpec> {
  const workspace: LayeredDrive = { base: templateSpec.drives.workspace, folder: scratch(), layers: [] };
  return {
    id: newId(),
    slot: await guest.slot(index),
    drives: { ...templateSpec.drives, workspace },
    template,
    ...more,
  };
}

/** What a machine of {@link restoreSpec} starts from, to be brought up to date by its captures. */
function keep(): Promise<KeptSnapshot> {
  return keepSnapshot(scratch(), { memory: join(template, "memory"), base: templateSpec.drives.workspace });
}

/** Takes a capture, keeps it and confirms it. */
async function save(machine: Machine, kept: KeptSnapshot, options: { resume?: boolean } = {}): Promise<Capture> {
  const capture = await machine.capture({ folder: guest.folder, ...options });
  await applyCapture(kept, capture);
  await capture.confirm();
  return capture;
}

/** Files whose names are their checksums, in memory and on the drive, written and removed without end. */
async function startWork(machine: Machine): Promise<void> {
  await guest.shell(
    machine.slot,
    `mkdir -p /tmp/work /disk/work
cat >/tmp/work.sh <<'END'
n=0
while :; do
  n=$((n + 1)); k=$((n % 12))
  for place in /tmp/work /disk/work; do
    cd $place; head -c 200000 /dev/urandom >new; rm -f $k.*; mv new $k.$(sha256sum new | cut -c1-64)
  done
  echo $n >/tmp/count; [ $((n % 5)) = 0 ] && sync
done
END
sh /tmp/work.sh >/dev/null 2>&1 & echo $! >/tmp/work.pid
while [ ! -s /tmp/count ]; do sleep 0.1; done`,
  );
}

/** Ends the work and compares every file with its name; returns how far the work had come. */
async function checkWork(machine: Machine): Promise<number> {
  const text = await guest.shell(
    machine.slot,
    `kill -9 $(cat /tmp/work.pid); echo 3 >/proc/sys/vm/drop_caches
for file in /tmp/work/*.* /disk/work/*.*; do
  sum=$(sha256sum $file | cut -c1-64); [ "\${file##*.}" = $sum ] && echo good || echo "bad $file"
done | sort | uniq -c; cat /tmp/count`,
  );
  const [good = "", count = "", ...rest] = text.trim().split(/\n\s*/);
  expect({ good, rest }, text).toEqual({ good: expect.stringMatching(/^\d+ good$/), rest: [] });
  return Number(count);
}

/** All memory of a machine that stands still is what its captures, put one on the other, say. */
async function expectSameMemory(machine: Machine, path: string, base = join(template, "memory")): Promise<void> {
  const bytes = machine.resources.memoryMib * 1024 ** 2;
  await using memory = await openGuestMemory(machine.pid, base, bytes);
  const file = await open(path, "r");
  const pieceBytes = 4 * 1024 * 1024;
  const [here, there] = [Buffer.alloc(pieceBytes), Buffer.alloc(pieceBytes)];
  const different: number[] = [];
  for (let at = 0; at < bytes; at += pieceBytes) {
    await memory.read(here, at / 4096);
    await file.read(there, 0, pieceBytes, at);
    if (!here.equals(there)) different.push(at);
  }
  await file.close();
  expect(different, "pieces of memory that differ").toEqual([]);
}

/** The drive as QEMU's own tools see it through all its layers is what the captures say. */
async function expectSameDisk(
  machine: Machine,
  kept: KeptSnapshot,
  base = templateSpec.drives.workspace,
): Promise<void> {
  const file = (filename: string) => ({ driver: "file", filename, locking: "off" });
  let node: object = { driver: "raw", file: file(base) };
  for (const layer of machine.layers()) node = { driver: "qcow2", file: file(layer), backing: node };
  await run("qemu-img", [
    "compare",
    "-U",
    `json:${JSON.stringify(node)}`,
    `json:${JSON.stringify({ driver: "raw", file: file(kept.disk) })}`,
  ]);
}

async function leftIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith(".capture"));
}

describe("captures of a machine that goes on", () => {
  test("say that the driver copies beside the running guest", () => {
    expect(vmm.capabilities).toMatchObject({ liveSnapshot: true, liveSnapshotProblem: undefined });
  });

  test("put one on the other give a machine that goes on too", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    await startWork(machine);
    const kept = await keep();
    let last: Capture | undefined;
    for (let round = 0; round < 4; round++) {
      await guest.shell(machine.slot, `head -c 4000000 /dev/urandom >/tmp/blob${round}`);
      await last?.[Symbol.asyncDispose]();
      last = await save(machine, kept);
      expect(last.memory.isComplete).toBe(round === 0);
      expect(last.rounds).toBeGreaterThan(0);
      expect(last.pauseMs).toBeLessThan(last.totalMs);
      expect(await machine.status()).toBe("running");
    }
    if (!last) throw new Error("no capture");
    // Merged as they were confirmed: what is frozen, and what is written to.
    expect(machine.layers()).toHaveLength(2);
    const { state, workspace } = await stateOf(kept, last, scratch());
    await last[Symbol.asyncDispose]();
    await expect(last.linkLayers(scratch())).rejects.toThrow("the capture was disposed of");
    const drives = { ...templateSpec.drives, workspace };
    const woken = await vmm.restore({ id: newId(), slot: await guest.slot(2), drives, state });
    await guest.shell(
      woken.slot,
      "n=$(cat /tmp/count); while [ $(cat /tmp/count) -lt $((n + 3)) ]; do sleep 0.1; done",
    );
    const [parentCount, wokenCount] = [await checkWork(machine), await checkWork(woken)];
    expect(parentCount).toBeGreaterThan(0);
    expect(wokenCount).toBeGreaterThan(0);

    // And what was restored is captured in its turn, relative to what it was mapped from.
    await guest.shell(woken.slot, "head -c 3000000 /dev/urandom >/tmp/own");
    const again = await save(woken, kept, { resume: false });
    expect(again.memory.isComplete).toBe(true);
    expect(await woken.status()).toBe("paused");
    await expectSameMemory(woken, kept.memory, state.memory);
    await expectSameDisk(woken, kept, workspace.base);
    await again[Symbol.asyncDispose]();
    await Promise.all([machine.kill(), woken.kill()]);
    expect(await leftIn(guest.folder)).toEqual([]);
  });

  test("hold exactly what changed, also under heavy writes", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await guest.shell(
      machine.slot,
      `for n in 1 2; do (while :; do dd if=/dev/zero of=/tmp/heavy$n bs=1000000 count=30 conv=notrunc; tr '\\0' x </dev/zero | dd of=/tmp/heavy$n bs=1000000 count=30 conv=notrunc; done >/dev/null 2>&1 &) ; done`,
    );
    for (let round = 0; round < 3; round++) {
      // Content, zeros over content, and what is discarded.
      const disk = `cd /disk; head -c 9000000 /dev/urandom >a${round}; rm -f a${round - 1}; sync; fstrim /disk; dd if=/dev/zero of=a${round} bs=1000000 seek=1 count=2 conv=notrunc; sync`;
      await guest.shell(machine.slot, disk);
      const capture = await save(machine, kept, { resume: round < 2 });
      expect(capture.copiedBytes).toBeGreaterThan(1_000_000);
      await capture[Symbol.asyncDispose]();
    }
    await expectSameMemory(machine, kept.memory);
    await expectSameDisk(machine, kept);
    await machine.resume();
    expect(await guest.shell(machine.slot, "echo on")).toBe("on\n");
    await machine.kill();
  });

  test("hold what earlier ones held that nobody confirmed", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await (await save(machine, kept))[Symbol.asyncDispose]();
    const open: Capture[] = [];
    for (let round = 0; round < 3; round++) {
      await guest.shell(
        machine.slot,
        `head -c 2000000 /dev/urandom >/tmp/lost${round}; echo ${round} >/disk/lost; sync`,
      );
      open.push(await machine.capture({ folder: guest.folder, resume: round < 2 }));
    }
    const [first, second, third] = open;
    if (!first || !second || !third) throw new Error("no captures");
    const isSubset = (part: Uint32Array, whole: Uint32Array) => part.every((block) => whole.includes(block));
    expect(isSubset(first.memory.blocks, second.memory.blocks)).toBe(true);
    expect(isSubset(second.disk.blocks, third.disk.blocks)).toBe(true);
    expect(third.memory.isComplete).toBe(false);
    // Only the last one is kept; it is enough.
    await applyCapture(kept, third);
    await third.confirm();
    await expectSameMemory(machine, kept.memory);
    for (const capture of open) await capture[Symbol.asyncDispose]();
    const next = await machine.capture({ folder: guest.folder });
    expect(next.memory.blocks.length).toBeLessThan(first.memory.blocks.length);
    expect(next.disk.blocks).toHaveLength(0);
    await next[Symbol.asyncDispose]();
    await machine.kill();
  });

  test("do not wait for layers to be merged", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await guest.shell(machine.slot, "head -c 40000000 /dev/urandom >/disk/much; sync");
    for (let round = 0; round < 4; round++) {
      const capture = await machine.capture({ folder: guest.folder });
      await applyCapture(kept, capture);
      const confirmed = capture.confirm();
      await guest.shell(machine.slot, `head -c 20000000 /dev/urandom >/disk/much${round % 2}; sync`);
      await using meanwhile = await machine.capture({ folder: guest.folder });
      await confirmed;
      await capture[Symbol.asyncDispose]();
      expect(meanwhile.disk.blocks.length).toBeGreaterThan(0);
    }
    await (await save(machine, kept))[Symbol.asyncDispose]();
    await (await save(machine, kept, { resume: false }))[Symbol.asyncDispose]();
    // One that stands still already is captured as well.
    const again = await machine.capture({ folder: guest.folder });
    expect(again).toMatchObject({ pauseMs: 0, rounds: 0 });
    expect(await machine.status()).toBe("paused");
    await again[Symbol.asyncDispose]();
    await expectSameMemory(machine, kept.memory);
    await expectSameDisk(machine, kept);
    expect(machine.layers()).toHaveLength(3);
    await machine.kill();
  });

  test("of a machine that was booted let it sleep and wake on its own layers", async () => {
    const raw = await guest.spec(newId(), 2);
    await run("chmod", ["444", raw.drives.workspace]);
    const folder = scratch();
    const drives = { ...raw.drives, workspace: { base: raw.drives.workspace, folder, layers: [] as string[] } };
    const machine = await vmm.boot({ ...raw, drives }, { isReady: (signal) => guest.isReady(raw.slot, signal) });
    await startWork(machine);
    const zeros = scratch();
    await run("truncate", ["-s", `${machine.resources.memoryMib}M`, zeros]);
    const kept = await keepSnapshot(scratch(), { memory: zeros, base: raw.drives.workspace });
    await (await save(machine, kept))[Symbol.asyncDispose]();
    const asleep = await save(machine, kept, { resume: false });
    const { layers } = asleep;
    expect(layers).toHaveLength(1);
    await machine.kill();
    await removeOtherLayers(folder, layers);
    const state = { identity: asleep.identity, devices: asleep.devices, memory: kept.memory };
    await asleep[Symbol.asyncDispose]();
    const workspace = { ...drives.workspace, layers: [...layers] };
    const spec = { id: newId(), slot: await guest.slot(2), drives: { ...drives, workspace }, state };
    // A wake that fails leaves the layers as they were.
    const broken = { ...state, devices: Buffer.from("no device state") };
    await expect(vmm.restore({ ...spec, state: broken })).rejects.toMatchObject({ code: "data_loss" });
    expect(await listLayers(folder)).toEqual(layers);
    const woken = await vmm.restore(spec);
    expect(await checkWork(woken)).toBeGreaterThan(0);
    await woken.kill();
  });

  test("are refused where they cannot be", async () => {
    const workspace = await guest.cloneDrive(templateSpec.drives.workspace);
    const raw = await vmm.restore(await restoreSpec(2, { drives: { ...templateSpec.drives, workspace } }));
    await expect(raw.capture({ folder: guest.folder })).rejects.toThrow(
      `the workspace drive of machine ${raw.id} is a raw file; only one of layers can be captured`,
    );
    await raw.kill();
    const machine = await vmm.restore(await restoreSpec(1));
    const open: Capture[] = [];
    for (let count = 0; count < 4; count++) open.push(await machine.capture({ folder: guest.folder }));
    await expect(machine.capture({ folder: guest.folder })).rejects.toThrow(
      `4 captures of machine ${machine.id} are open; at most 4 may be`,
    );
    for (const capture of open) await capture[Symbol.asyncDispose]();
    await expect(open[0]?.confirm()).rejects.toThrow("the capture was disposed of");
    await expect(machine.capture({ folder: "/nowhere" })).rejects.toMatchObject({ code: "ENOENT" });
    await machine.kill();
  });
});

describe("a capture that fails", () => {
  /** Fails once by `fail`, and is taken again; what was un-marked the first time must be there. */
  async function expectNothingLost(fail: (machine: Machine) => Promise<void>): Promise<void> {
    const machine = await vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await (await save(machine, kept))[Symbol.asyncDispose]();
    await guest.shell(
      machine.slot,
      "head -c 20000000 /dev/urandom >/tmp/precious; echo precious >/disk/precious; sync",
    );
    await fail(machine);
    expect(await machine.status()).toBe("running");
    expect(await guest.shell(machine.slot, "echo on")).toBe("on\n");
    expect(await leftIn(guest.folder)).toEqual([]);
    const capture = await save(machine, kept, { resume: false });
    expect(capture.disk.blocks.length).toBeGreaterThan(0);
    await capture[Symbol.asyncDispose]();
    await expectSameMemory(machine, kept.memory);
    await machine.kill();
  }

  test("for lack of space loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      const folder = scratch();
      await mkdir(folder);
      await run("mount", ["-t", "tmpfs", "-o", "size=4m", "tiny", folder]);
      try {
        await expect(machine.capture({ folder })).rejects.toMatchObject({
          code: "resource_exhausted",
          message: "copying the guest's memory failed: the staging file cannot be written: No space left on device",
        });
      } finally {
        await run("umount", [folder]);
      }
    });
  });

  test("because the helper is killed loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      let isOver = false;
      const failure = expect(machine.capture({ folder: guest.folder })).rejects.toThrow(
        "the helper that copies memory ended: SIGKILL",
      );
      void failure.finally(() => {
        isOver = true;
      });
      while (!isOver && !(await killHelper())) await new Promise(setImmediate);
      await failure;
    });
  });

  test("because the VMM cannot save its devices loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      const inTheWay = join(guest.machinesDir, machine.id, "run/devices");
      await mkdir(inTheWay);
      await expect(machine.capture({ folder: guest.folder })).rejects.toThrow(
        "xen-save-devices-state failed in the VMM",
      );
      await rmdir(inTheWay);
    });
  });

  test("because what runs before the guest stops fails loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      let resumed = 0;
      const capture = machine.capture({
        folder: guest.folder,
        beforeStop: async () => {
          expect(await machine.status()).toBe("running");
          throw new Error("the guest's processes do not stand still");
        },
        afterResume: async () => {
          resumed++;
        },
      });
      await expect(capture).rejects.toThrow("the guest's processes do not stand still");
      expect(resumed).toBe(1);
    });
  });

  test("because it is cancelled at any point loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      let cancelled = 0;
      for (const turns of [0, 3, 10, 20, 40, 60, 80, 120, 160, 200, 300]) {
        const stop = new AbortController();
        const capture = machine.capture({ folder: guest.folder, signal: stop.signal });
        const outcome = capture.then(
          (taken) => taken[Symbol.asyncDispose](),
          (error: Error) => {
            expect(error.name).toBe("AbortError");
            cancelled++;
          },
        );
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        stop.abort();
        await outcome;
        expect(await machine.status()).toBe("running");
      }
      expect(cancelled).toBeGreaterThan(1);
    });
  });

  test("because the machine dies leaves nothing", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    const capture = machine.capture({ folder: guest.folder });
    process.kill(machine.pid, "SIGKILL");
    await expect(capture).rejects.toMatchObject({ code: "unavailable" });
    expect(await machine.exited).toMatchObject({ reason: "killed" });
    expect(await leftIn(guest.folder)).toEqual([]);
    const [top = ""] = machine.layers();
    await machine.kill();
    // The drive is the caller's: the layer that was written to is there, and nothing that never was.
    expect(await listLayers(dirname(top))).toEqual([top]);
  });
});

describe("without tracking", () => {
  test("captures copy while the guest stands still, and are complete", async () => {
    await using other = await openVmm({ tracksWrites: false });
    expect(other.vmm.capabilities).toMatchObject({
      liveSnapshot: false,
      liveSnapshotProblem: "tracking of writes is switched off",
    });
    const machine = await other.vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await startWork(machine);
    for (let round = 0; round < 2; round++) {
      const capture = await save(machine, kept, { resume: round < 1 });
      expect(capture).toMatchObject({ rounds: 0, memory: { isComplete: true } });
      await capture[Symbol.asyncDispose]();
    }
    await expectSameMemory(machine, kept.memory);
    // Another daemon has the means, but this process was started without.
    machine.release();
    const adopted = await vmm.adopt(machine.id);
    const capture = await save(adopted, kept, { resume: false });
    expect(capture).toMatchObject({ rounds: 0, memory: { isComplete: true } });
    await expectSameMemory(adopted, kept.memory);
    await capture[Symbol.asyncDispose]();
    await adopted.resume();
    await checkWork(adopted);
    await adopted.kill();
  });
});

test("a machine that another process adopts is captured as a whole", async () => {
  const spec = await restoreSpec(1);
  const program = fileURLToPath(new URL("testing/adoption-child.ts", import.meta.url));
  const child = spawn(process.execPath, [program, guest.machinesDir, JSON.stringify(spec)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  const machine = await vmm.adopt(spec.id);
  await startWork(machine);
  const kept = await keep();
  const first = await save(machine, kept);
  expect(first.memory.isComplete).toBe(true);
  await first[Symbol.asyncDispose]();

  // Adopted in the middle of things: a layer is frozen that no record knows as confirmed.
  const unconfirmed = await machine.capture({ folder: guest.folder });
  machine.release();
  await unconfirmed[Symbol.asyncDispose]();
  const again = await vmm.adopt(spec.id);
  expect(again.layers()).toHaveLength(3);
  const second = await save(again, kept, { resume: false });
  expect(second.memory.isComplete).toBe(true);
  expect(again.layers()).toHaveLength(2);
  await expectSameMemory(again, kept.memory);
  const { state, workspace } = await stateOf(kept, second, scratch());
  await second[Symbol.asyncDispose]();
  await again.kill();
  const drives = { ...templateSpec.drives, workspace };
  const woken = await vmm.restore({ id: newId(), slot: await guest.slot(2), drives, state });
  expect(await checkWork(woken)).toBeGreaterThan(0);
  await woken.kill();
});

test("a daemon that is killed while it captures loses nothing, and its guest goes on", async () => {
  const machine = await vmm.restore(await restoreSpec(1));
  await startWork(machine);
  machine.release();
  const program = fileURLToPath(new URL("testing/capture-child.ts", import.meta.url));
  for (const round of [0, 2, 4, 7]) {
    const args = [program, guest.machinesDir, machine.id, guest.folder];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    // Somewhere in its second capture, or in the merging after its first.
    await once(child.stdout, "data");
    for (let turn = 0; turn < round * round * 40; turn++) await new Promise(setImmediate);
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  const adopted = await vmm.adopt(machine.id);
  expect(await adopted.status()).toBe("running");
  expect(adopted.layers().length).toBeLessThanOrEqual(10);
  const inFolder = await listLayers(dirname(adopted.layers()[0] ?? ""));
  expect(inFolder).toEqual(adopted.layers());
  // Whose marks were lost with the daemon is found among all that differs.
  const kept = await keep();
  const capture = await save(adopted, kept, { resume: false });
  await expectSameMemory(adopted, kept.memory);
  await capture[Symbol.asyncDispose]();
  await adopted.resume();
  expect(await checkWork(adopted)).toBeGreaterThan(0);
  await adopted.kill();
});

describe("forks", () => {
  /** Starts a fork of a running machine: its memory is the base's with all that differs, its drive the parent's layers. */
  async function fork(parent: Machine, index: number): Promise<{ machine: Machine; folder: string; links: string[] }> {
    const folder = scratch();
    await using capture = await parent.capture({ folder: guest.folder, complete: true });
    expect(capture.memory.isComplete).toBe(true);
    const kept = await keep();
    await applyCapture(kept, capture);
    const links = await capture.linkLayers(folder);
    const workspace: LayeredDrive = { base: templateSpec.drives.workspace, folder, layers: links };
    const state = { identity: capture.identity, devices: capture.devices, memory: kept.memory };
    const drives = { ...templateSpec.drives, workspace };
    const machine = await vmm.restore({ id: newId(), slot: await guest.slot(index), drives, state });
    return { machine, folder, links };
  }

  test("share frozen layers, and each goes on alone", async () => {
    const parent = await vmm.restore(await restoreSpec(1));
    await startWork(parent);
    const kept = await keep();
    await (await save(parent, kept))[Symbol.asyncDispose]();
    await guest.shell(
      parent.slot,
      "head -c 500000 /dev/urandom >/disk/blob; sync; cat /disk/blob | sha256sum >/disk/sum; sync",
    );
    const one = await fork(parent, 2);
    const two = await fork(parent, 3);
    const inode = async (path: string) => (await stat(path)).ino;
    const [shared = ""] = one.links;
    expect((await stat(shared)).nlink).toBe(3);
    expect(await inode(shared)).toBe(await inode(parent.layers()[0] ?? ""));

    // The parent goes on to be captured and merged, and never into what is shared.
    const { mtimeMs } = await stat(shared);
    for (let round = 0; round < 3; round++) {
      await guest.shell(parent.slot, `echo parent >/disk/whose; head -c 300000 /dev/urandom >/disk/blob${round}; sync`);
      const capture = await save(parent, kept);
      // A fork does not take anything from its parent's next capture.
      expect(capture.memory.isComplete).toBe(false);
      await capture[Symbol.asyncDispose]();
    }
    expect((await stat(shared)).mtimeMs).toBe(mtimeMs);
    await guest.shell(one.machine.slot, "echo one >/disk/whose; sync");
    await guest.shell(two.machine.slot, "echo two >/disk/whose; sync");

    await two.machine.kill();
    await rm(two.folder, { recursive: true });
    const check =
      "cat /disk/whose; echo 3 >/proc/sys/vm/drop_caches; sha256sum </disk/blob | cmp - /disk/sum && echo whole";
    expect(await guest.shell(one.machine.slot, check)).toBe("one\nwhole\n");
    expect(await guest.shell(parent.slot, check)).toBe("parent\nwhole\n");
    expect(await checkWork(one.machine)).toBeGreaterThan(0);
    expect(await checkWork(parent)).toBeGreaterThan(0);

    // The parent ends first; what the fork shares is whole, and is merged once it is its own.
    const parentFolder = dirname(parent.layers()[0] ?? "");
    await parent.kill();
    await rm(parentFolder, { recursive: true });
    expect((await stat(shared)).nlink).toBe(1);
    const last = await one.machine.capture({ folder: guest.folder });
    await last.confirm();
    await last[Symbol.asyncDispose]();
    expect(one.machine.layers()).toHaveLength(2);
    expect(await guest.shell(one.machine.slot, check)).toBe("one\nwhole\n");
    await one.machine.kill();
  });

  test("of which none is confirmed never lead to more layers than a drive may have", async () => {
    const parent = await vmm.restore(await restoreSpec(1));
    const kept = await keep();
    let most = 0;
    for (let round = 0; round < 35; round++) {
      await guest.shell(parent.slot, `echo ${round} >/disk/round${round}; sync`);
      await using capture = await parent.capture({ folder: guest.folder });
      await capture.linkLayers(scratch());
      most = Math.max(most, parent.layers().length);
    }
    expect(most).toBe(32);
    const capture = await save(parent, kept, { resume: false });
    await capture[Symbol.asyncDispose]();
    await expectSameMemory(parent, kept.memory);
    await expectSameDisk(parent, kept);
    await parent.kill();
  });

  test("however many, leave the parent with few layers", async () => {
    const parent = await vmm.restore(await restoreSpec(1));
    const folders: string[] = [];
    let most = 0;
    for (let round = 0; round < 12; round++) {
      await guest.shell(parent.slot, `echo ${round} >/disk/round${round}; sync`);
      const capture = await parent.capture({ folder: guest.folder });
      const folder = scratch();
      if (round % 2 === 0) folders.push(folder);
      if (round % 2 === 0) await capture.linkLayers(folder);
      await capture.confirm();
      await capture[Symbol.asyncDispose]();
      most = Math.max(most, parent.layers().length);
    }
    expect(most).toBeLessThanOrEqual(12);
    expect(parent.layers().length).toBeLessThan(10);
    const rounds = await guest.shell(parent.slot, "echo 3 >/proc/sys/vm/drop_caches; cat /disk/round*");
    expect(
      rounds
        .trim()
        .split("\n")
        .map(Number)
        .sort((a, b) => a - b),
    ).toEqual([...Array(12).keys()]);
    await parent.kill();
  });
});

/** Ends the helper that this process runs, if there is one. */
async function killHelper(): Promise<boolean> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  for (const pid of children.trim().split(" ").filter(Boolean)) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (!command.includes("copy-pages")) continue;
    process.kill(Number(pid), "SIGKILL");
    return true;
  }
  return false;
}

async function openVmm(options: { tracksWrites: boolean }): Promise<AsyncDisposable & { vmm: Vmm }> {
  const other = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg", folders, ...options });
  return { vmm: other, [Symbol.asyncDispose]: () => other.close() };
}
