import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "@dormouse/base/node";
import { describe, expect, test } from "vitest";
import { listLayers, removeOtherLayers } from "./layer-folder.ts";
import { applyCapture, stateOf } from "./testing/capture-guest.ts";
import { useCaptures } from "./testing/captures.ts";
import type { Capture } from "./vmm.ts";

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
  leftIn,
  expectNothingLost,
} = captures;

describe("captures of a machine that goes on", () => {
  test("say that the driver copies beside the running guest", () => {
    expect(captures.vmm.capabilities).toMatchObject({ liveSnapshot: true, liveSnapshotProblem: undefined });
  });

  test("put one on the other give a machine that goes on too", async () => {
    const machine = await captures.vmm.restore(await restoreSpec(1));
    await startWork(machine);
    const kept = await keep();
    let last: Capture | undefined;
    for (let round = 0; round < 4; round++) {
      await captures.guest.shell(machine.slot, `head -c 4000000 /dev/urandom >/tmp/blob${round}`);
      await last?.[Symbol.asyncDispose]();
      last = await save(machine, kept);
      expect(last.copiedBytes).toBeGreaterThan(4_000_000);
      expect(last.copiedStoppedBytes).toBeLessThan(last.copiedBytes / 2);
      expect(last.memory.isComplete).toBe(round === 0);
      expect(last.rounds).toBeGreaterThan(0);
      expect(last.pauseMs).toBeGreaterThan(0);
      expect(last.pauseMs).toBeLessThan(last.totalMs);
      expect(await machine.status()).toBe("running");
    }
    if (!last) throw new Error("no capture");
    // Merged as they were confirmed: what is frozen, and what is written to.
    expect(machine.layers()).toHaveLength(2);
    const { state, workspace } = await stateOf(kept, last, scratch());
    await last[Symbol.asyncDispose]();
    await expect(last.linkLayers(scratch())).rejects.toThrow("the capture was disposed of");
    const drives = { ...captures.templateSpec.drives, workspace };
    const woken = await captures.vmm.restore({ id: newId(), slot: await captures.guest.slot(2), drives, state });
    await captures.guest.shell(
      woken.slot,
      "n=$(cat /tmp/count); while [ $(cat /tmp/count) -lt $((n + 3)) ]; do sleep 0.1; done",
    );
    const [parentCount, wokenCount] = [await checkWork(machine), await checkWork(woken)];
    expect(parentCount).toBeGreaterThan(0);
    expect(wokenCount).toBeGreaterThan(0);

    // And what was restored is captured in its turn, relative to what it was mapped from.
    await captures.guest.shell(woken.slot, "head -c 3000000 /dev/urandom >/tmp/own");
    const again = await save(woken, kept, { resume: false });
    expect(again.memory.isComplete).toBe(true);
    expect(await woken.status()).toBe("paused");
    await expectSameMemory(woken, kept.memory, state.memory);
    await expectSameDisk(woken, kept, workspace.base);
    await again[Symbol.asyncDispose]();
    await Promise.all([machine.kill(), woken.kill()]);
    expect(await leftIn(captures.guest.folder)).toEqual([]);
  });

  test("hold what earlier ones held that nobody confirmed", async () => {
    const machine = await captures.vmm.restore(await restoreSpec(1));
    const kept = await keep();
    await (await save(machine, kept))[Symbol.asyncDispose]();
    const open: Capture[] = [];
    for (let round = 0; round < 3; round++) {
      await captures.guest.shell(
        machine.slot,
        `head -c 2000000 /dev/urandom >/tmp/lost${round}; echo ${round} >/disk/lost; sync`,
      );
      open.push(await machine.capture({ folder: captures.guest.folder, resume: round < 2 }));
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
    const next = await machine.capture({ folder: captures.guest.folder });
    expect(next.memory.blocks.length).toBeLessThan(first.memory.blocks.length);
    expect(next.disk.blocks).toHaveLength(0);
    await next[Symbol.asyncDispose]();
    await machine.kill();
  });

  test("of a machine that woke on several layers are merged with those, layer by layer", async () => {
    const spec = await restoreSpec(1);
    const machine = await captures.vmm.restore(spec);
    await startWork(machine);
    const kept = await keep();
    const open: Capture[] = [];
    // While they are open their layers stay apart.
    for (const resume of [true, true, false]) open.push(await save(machine, kept, { resume }));
    const last = open.at(-1);
    if (!last) throw new Error("no capture");
    const layers = [...last.layers];
    expect(layers).toHaveLength(3);
    await machine.kill();
    const folder = dirname(layers[0] ?? "");
    await removeOtherLayers(folder, layers);
    const state = { identity: last.identity, devices: last.devices, memory: kept.memory };
    for (const capture of open) await capture[Symbol.asyncDispose]();
    const workspace = { base: captures.templateSpec.drives.workspace, folder, layers };
    const drives = { ...captures.templateSpec.drives, workspace };
    const woken = await captures.vmm.restore({ id: newId(), slot: await captures.guest.slot(2), drives, state });
    await (await save(woken, kept))[Symbol.asyncDispose]();
    // What was frozen, and the layer that is written to.
    expect(woken.layers()).toHaveLength(2);
    const log = await readFile(join(captures.guest.machinesDir, woken.id, "vmm.log"), "utf8");
    expect(log).not.toContain("Could not");
    const end = await save(woken, kept, { resume: false });
    await end[Symbol.asyncDispose]();
    await expectSameDisk(woken, kept);
    await woken.resume();
    expect(await checkWork(woken)).toBeGreaterThan(0);
    await woken.kill();
  });

  test("are refused where they cannot be", async () => {
    const workspace = await captures.guest.cloneDrive(captures.templateSpec.drives.workspace);
    const raw = await captures.vmm.restore(
      await restoreSpec(2, { drives: { ...captures.templateSpec.drives, workspace } }),
    );
    await expect(raw.capture({ folder: captures.guest.folder })).rejects.toThrow(
      `the workspace drive of machine ${raw.id} is a raw file; only one of layers can be captured`,
    );
    await raw.kill();
    const machine = await captures.vmm.restore(await restoreSpec(1));
    const open: Capture[] = [];
    for (let count = 0; count < 4; count++) open.push(await machine.capture({ folder: captures.guest.folder }));
    await expect(machine.capture({ folder: captures.guest.folder })).rejects.toThrow(
      `4 captures of machine ${machine.id} are open; at most 4 may be`,
    );
    for (const capture of open) await capture[Symbol.asyncDispose]();
    await expect(open[0]?.confirm()).rejects.toThrow("the capture was disposed of");
    await expect(machine.capture({ folder: "/nowhere" })).rejects.toMatchObject({ code: "ENOENT" });
    await machine.kill();
  });
});

describe("a capture that fails", () => {
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

  test("because the machine dies leaves nothing", async () => {
    const machine = await captures.vmm.restore(await restoreSpec(1));
    const capture = machine.capture({ folder: captures.guest.folder });
    process.kill(machine.pid, "SIGKILL");
    await expect(capture).rejects.toMatchObject({ code: "unavailable" });
    expect(await machine.exited).toMatchObject({ reason: "killed" });
    expect(await leftIn(captures.guest.folder)).toEqual([]);
    const [top = ""] = machine.layers();
    await machine.kill();
    // The drive is the caller's: the layer that was written to is there, and nothing that never was.
    expect(await listLayers(dirname(top))).toEqual([top]);
  });
});

test("a machine that another process adopts is captured as a whole", async () => {
  const spec = await restoreSpec(1);
  const program = fileURLToPath(new URL("testing/adoption-child.ts", import.meta.url));
  const child = spawn(process.execPath, [program, captures.guest.machinesDir, JSON.stringify(spec)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  const machine = await captures.vmm.adopt(spec.id);
  await startWork(machine);
  const kept = await keep();
  const first = await save(machine, kept);
  expect(first.memory.isComplete).toBe(true);
  await first[Symbol.asyncDispose]();

  // Adopted in the middle of things: a layer is frozen that no record knows as confirmed.
  const unconfirmed = await machine.capture({ folder: captures.guest.folder });
  machine.release();
  await unconfirmed[Symbol.asyncDispose]();
  const again = await captures.vmm.adopt(spec.id);
  expect(again.layers()).toHaveLength(3);
  const second = await save(again, kept, { resume: false });
  expect(second.memory.isComplete).toBe(true);
  expect(again.layers()).toHaveLength(2);
  await expectSameMemory(again, kept.memory);
  const { state, workspace } = await stateOf(kept, second, scratch());
  await second[Symbol.asyncDispose]();
  await again.kill();
  const drives = { ...captures.templateSpec.drives, workspace };
  const woken = await captures.vmm.restore({ id: newId(), slot: await captures.guest.slot(2), drives, state });
  expect(await checkWork(woken)).toBeGreaterThan(0);
  await woken.kill();
});
