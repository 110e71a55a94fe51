import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dormouse/base/node";
import { describe, expect, test } from "vitest";
import { listLayers, removeOtherLayers } from "./layer-folder.ts";
import { applyCapture, keepSnapshot } from "./testing/capture-guest.ts";
import { useCaptures } from "./testing/captures.ts";

const captures = useCaptures();
const {
  newId,
  scratch,
  restoreSpec,
  keep,
  save,
  startWork,
  checkWork,
  expectSameMemory,
  expectSameDisk,
  expectNothingLost,
  killHelper,
  openVmm,
  fork,
} = captures;

describe("captures of a machine that goes on", () => {
  test("hold exactly what changed, also under heavy writes", async () => {
    const machine = await captures.vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await captures.guest.shell(
      machine.slot,
      `for n in 1 2; do (while :; do dd if=/dev/zero of=/tmp/heavy$n bs=1000000 count=30 conv=notrunc; tr '\\0' x </dev/zero | dd of=/tmp/heavy$n bs=1000000 count=30 conv=notrunc; done >/dev/null 2>&1 &) ; done`,
    );
    for (let round = 0; round < 3; round++) {
      // Content, zeros over content, and what is discarded.
      const disk = `cd /disk; head -c 9000000 /dev/urandom >a${round}; rm -f a${round - 1}; sync; fstrim /disk; dd if=/dev/zero of=a${round} bs=1000000 seek=1 count=2 conv=notrunc; sync`;
      await captures.guest.shell(machine.slot, disk);
      const capture = await save(machine, kept, { resume: round < 2 });
      expect(capture.copiedBytes).toBeGreaterThan(1_000_000);
      await capture[Symbol.asyncDispose]();
    }
    await expectSameMemory(machine, kept.memory);
    await expectSameDisk(machine, kept);
    await machine.resume();
    expect(await captures.guest.shell(machine.slot, "echo on")).toBe("on\n");
    await machine.kill();
  });

  test("of a machine that was booted let it sleep and wake on its own layers", async () => {
    const raw = await captures.guest.spec(newId(), 2);
    await run("chmod", ["444", raw.drives.workspace]);
    const folder = scratch();
    const drives = { ...raw.drives, workspace: { base: raw.drives.workspace, folder, layers: [] as string[] } };
    const machine = await captures.vmm.boot(
      { ...raw, drives },
      { isReady: (signal) => captures.guest.isReady(raw.slot, signal) },
    );
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
    const spec = { id: newId(), slot: await captures.guest.slot(2), drives: { ...drives, workspace }, state };
    // A wake that fails leaves the layers as they were.
    const broken = { ...state, devices: Buffer.from("no device state") };
    await expect(captures.vmm.restore({ ...spec, state: broken })).rejects.toMatchObject({ code: "data_loss" });
    expect(await listLayers(folder)).toEqual(layers);
    const woken = await captures.vmm.restore(spec);
    expect(await checkWork(woken)).toBeGreaterThan(0);
    await woken.kill();
  });

  test("do not wait for layers to be merged", async () => {
    const machine = await captures.vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await captures.guest.shell(machine.slot, "head -c 40000000 /dev/urandom >/disk/much; sync");
    for (let round = 0; round < 4; round++) {
      const capture = await machine.capture({ folder: captures.guest.folder });
      await applyCapture(kept, capture);
      const confirmed = capture.confirm();
      await captures.guest.shell(machine.slot, `head -c 20000000 /dev/urandom >/disk/much${round % 2}; sync`);
      await using meanwhile = await machine.capture({ folder: captures.guest.folder });
      await confirmed;
      await capture[Symbol.asyncDispose]();
      expect(meanwhile.disk.blocks.length).toBeGreaterThan(0);
    }
    await (await save(machine, kept))[Symbol.asyncDispose]();
    await (await save(machine, kept, { resume: false }))[Symbol.asyncDispose]();
    // One that stands still already is captured as well.
    const again = await machine.capture({ folder: captures.guest.folder });
    expect(again).toMatchObject({ pauseMs: 0, rounds: 0 });
    expect(await machine.status()).toBe("paused");
    await again[Symbol.asyncDispose]();
    await expectSameMemory(machine, kept.memory);
    await expectSameDisk(machine, kept);
    expect(machine.layers()).toHaveLength(3);
    await machine.kill();
  });
});

describe("a capture that fails", () => {
  test("because the helper is killed loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      let isOver = false;
      const failure = expect(machine.capture({ folder: captures.guest.folder })).rejects.toThrow(
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
      const inTheWay = join(captures.guest.machinesDir, machine.id, "run/devices");
      await mkdir(inTheWay);
      await expect(machine.capture({ folder: captures.guest.folder })).rejects.toThrow(
        "xen-save-devices-state failed in the VMM",
      );
      await rmdir(inTheWay);
    });
  });

  test("because what runs before the guest stops fails loses nothing", async () => {
    await expectNothingLost(async (machine) => {
      let resumed = 0;
      const capture = machine.capture({
        folder: captures.guest.folder,
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
        const capture = machine.capture({ folder: captures.guest.folder, signal: stop.signal });
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
    const adopted = await captures.vmm.adopt(machine.id);
    const capture = await save(adopted, kept, { resume: false });
    expect(capture).toMatchObject({ rounds: 0, memory: { isComplete: true } });
    await expectSameMemory(adopted, kept.memory);
    await capture[Symbol.asyncDispose]();
    await adopted.resume();
    await checkWork(adopted);
    await adopted.kill();
  });
});

describe("forks", () => {
  test("share frozen layers, and each goes on alone", async () => {
    const parent = await captures.vmm.restore(await restoreSpec(1));
    await startWork(parent);
    const kept = await keep();
    await (await save(parent, kept))[Symbol.asyncDispose]();
    await captures.guest.shell(
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
      await captures.guest.shell(
        parent.slot,
        `echo parent >/disk/whose; head -c 300000 /dev/urandom >/disk/blob${round}; sync`,
      );
      const capture = await save(parent, kept);
      // A fork does not take anything from its parent's next capture.
      expect(capture.memory.isComplete).toBe(false);
      await capture[Symbol.asyncDispose]();
    }
    expect((await stat(shared)).mtimeMs).toBe(mtimeMs);
    await captures.guest.shell(one.machine.slot, "echo one >/disk/whose; sync");
    await captures.guest.shell(two.machine.slot, "echo two >/disk/whose; sync");

    await two.machine.kill();
    await rm(two.folder, { recursive: true });
    const check =
      "cat /disk/whose; echo 3 >/proc/sys/vm/drop_caches; sha256sum </disk/blob | cmp - /disk/sum && echo whole";
    expect(await captures.guest.shell(one.machine.slot, check)).toBe("one\nwhole\n");
    expect(await captures.guest.shell(parent.slot, check)).toBe("parent\nwhole\n");
    expect(await checkWork(one.machine)).toBeGreaterThan(0);
    expect(await checkWork(parent)).toBeGreaterThan(0);

    // The parent ends first; what the fork shares is whole, and is merged once it is its own.
    const parentFolder = dirname(parent.layers()[0] ?? "");
    await parent.kill();
    await rm(parentFolder, { recursive: true });
    expect((await stat(shared)).nlink).toBe(1);
    const last = await one.machine.capture({ folder: captures.guest.folder });
    await last.confirm();
    await last[Symbol.asyncDispose]();
    expect(one.machine.layers()).toHaveLength(2);
    expect(await captures.guest.shell(one.machine.slot, check)).toBe("one\nwhole\n");
    await one.machine.kill();
  });

  test("of which none is confirmed never lead to more layers than a drive may have", async () => {
    const parent = await captures.vmm.restore(await restoreSpec(1));
    const kept = await keep();
    let most = 0;
    for (let round = 0; round < 35; round++) {
      await captures.guest.shell(parent.slot, `echo ${round} >/disk/round${round}; sync`);
      await using capture = await parent.capture({ folder: captures.guest.folder });
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
    const parent = await captures.vmm.restore(await restoreSpec(1));
    const folders: string[] = [];
    let most = 0;
    for (let round = 0; round < 12; round++) {
      await captures.guest.shell(parent.slot, `echo ${round} >/disk/round${round}; sync`);
      const capture = await parent.capture({ folder: captures.guest.folder });
      const folder = scratch();
      if (round % 2 === 0) folders.push(folder);
      if (round % 2 === 0) await capture.linkLayers(folder);
      await capture.confirm();
      await capture[Symbol.asyncDispose]();
      most = Math.max(most, parent.layers().length);
    }
    expect(most).toBeLessThanOrEqual(12);
    expect(parent.layers().length).toBeLessThan(10);
    const rounds = await captures.guest.shell(parent.slot, "echo 3 >/proc/sys/vm/drop_caches; cat /disk/round*");
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

test("a daemon that is killed while it captures loses nothing, and its guest goes on", async () => {
  const machine = await captures.vmm.restore(await restoreSpec(1));
  await startWork(machine);
  machine.release();
  const program = fileURLToPath(new URL("testing/capture-child.ts", import.meta.url));
  for (const round of [0, 2, 4, 7]) {
    const args = [program, captures.guest.machinesDir, machine.id, captures.guest.folder];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    // Somewhere in its second capture, or in the merging after its first.
    await once(child.stdout, "data");
    for (let turn = 0; turn < round * round * 40; turn++) await new Promise(setImmediate);
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  const adopted = await captures.vmm.adopt(machine.id);
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
