import { chmod, mkdir, open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { blockBytes } from "./block-set.ts";
import { connectPartialFile, type PartialFiles } from "./partial-file.ts";
import { stateOf } from "./testing/capture-guest.ts";
import { useCaptures } from "./testing/captures.ts";
import { fillSlowly, type SlowFiller } from "./testing/slow-filler.ts";
import type { Machine } from "./vmm.ts";

const captures = useCaptures();
const { newId, scratch, restoreSpec, keep, save, expectSameMemory } = captures;

const content = "sha256sum /tmp/blob; echo 3 >/proc/sys/vm/drop_caches; sha256sum /disk/blob";

function partialFiles(): PartialFiles {
  const { partialFiles: files } = captures.vmm;
  if (!files) throw new Error(`no partial files here: ${captures.vmm.capabilities.partialFilesProblem}`);
  return files;
}

/** A machine's moment with memory and drive, and what was in both. */
async function takeMoment() {
  const machine = await captures.vmm.restore(await restoreSpec(1));
  const fill = "head -c 20000000 /dev/urandom >";
  await captures.guest.shell(machine.slot, `${fill}/tmp/blob; ${fill}/disk/blob; sync`);
  const sums = await captures.guest.shell(machine.slot, content);
  const kept = await keep();
  await using capture = await save(machine, kept, { resume: false });
  const start = await stateOf(kept, capture, scratch());
  await machine.kill();
  return { kept, sums, ...start };
}

let moment: Awaited<ReturnType<typeof takeMoment>>;
beforeAll(async () => {
  moment = await takeMoment();
});

/** Starts a machine from files that hold nothing, which are filled with those of the moment. */
async function startEmpty(delayMs: number) {
  const folder = scratch();
  await mkdir(folder, { mode: 0o711 });
  const shown = async (name: string, from: string) => {
    const [file, at, socket] = [name, `${name}-shown`, `${name}.fill`].map((each) => join(folder, each)) as [
      string,
      string,
      string,
    ];
    const { size: bytes } = await stat(from);
    for (const path of [file, at]) {
      await using empty = await open(path, "wx");
      await empty.truncate(bytes);
      await chmod(path, 0o444);
    }
    await partialFiles().serve(file, socket);
    // As a second machine of the same moment sees it.
    if (name === "disk") await partialFiles().show(file, at);
    const source = { from, file, socket, bytes, delayMs };
    return { ...source, at: name === "disk" ? at : file, filler: await fillSlowly(source) };
  };
  const memory = await shown("memory", moment.state.memory);
  const disk = await shown("disk", moment.workspace.base);
  const workspace = { ...moment.workspace, base: disk.at, folder: join(folder, "layers") };
  const machine = await captures.vmm.restore({
    id: newId(),
    slot: await captures.guest.slot(2),
    drives: { ...captures.templateSpec.drives, workspace },
    state: { ...moment.state, memory: memory.file },
  });
  return { machine, memory, disk };
}

async function serversOf(folder: string): Promise<number> {
  let count = 0;
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(folder)) count++;
  }
  return count;
}

async function killServers(folder: string): Promise<void> {
  for (const pid of await readdir("/proc")) {
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (command.includes("serve-blocks") && command.includes(folder)) process.kill(Number(pid), "SIGKILL");
  }
}

async function expectEnded(fillers: readonly SlowFiller[], machine: Machine): Promise<void> {
  await machine.kill();
  for (const filler of fillers) await expect.poll(() => filler.used, { timeout: 5_000 }).toBe(0);
  for (const filler of fillers) await filler.close();
  await expect.poll(() => serversOf(captures.guest.folder), { timeout: 5_000 }).toBe(0);
}

test("a machine starts from files that hold nothing yet, and goes on as it was", async () => {
  const { machine, memory, disk } = await startEmpty(2);
  expect(await captures.guest.shell(machine.slot, "echo up")).toBe("up\n");
  const atFirst = memory.filler.filled;
  expect(atFirst).toBeGreaterThan(10);
  expect(atFirst).toBeLessThan(memory.bytes / blockBytes / 4);
  expect(await captures.guest.shell(machine.slot, content)).toBe(moment.sums);
  expect(memory.filler.filled).toBeGreaterThan(atFirst + 300);
  expect(disk.filler.filled).toBeGreaterThan(300);
  expect([memory.filler.used, disk.filler.used]).toEqual([1, 1]);

  const touched = (await machine.touched()).toArray();
  expect(touched.length).toBeGreaterThan(300);
  expect(touched.length).toBeLessThanOrEqual(memory.filler.filled);

  // What it writes is tracked as ever, and its capture is whole whatever the file is.
  await captures.guest.shell(machine.slot, "head -c 3000000 /dev/urandom >/tmp/own");
  await using capture = await save(machine, moment.kept, { resume: false });
  expect(capture.rounds).toBeGreaterThan(0);
  expect(capture.copiedBytes).toBeLessThan(memory.bytes / 4);
  await memory.filler.fillRest();
  await expectSameMemory(machine, moment.kept.memory, memory.file);
  await expectEnded([memory.filler, disk.filler], machine);
});

test("readers wait while nobody fills, and the next one goes on where the last one was", async () => {
  const { machine, memory, disk } = await startEmpty(0);
  expect(await captures.guest.shell(machine.slot, "echo up")).toBe("up\n");
  await memory.filler.close();
  await disk.filler.close();
  const sums = captures.guest.shell(machine.slot, content);
  const next = await fillSlowly(memory);
  const nextDisk = await fillSlowly(disk);
  expect(await sums).toBe(moment.sums);
  const partial = await connectPartialFile({ ...memory, onWant() {}, onUse() {}, onEnd() {} });
  expect(partial.present.toArray().length).toBe(memory.filler.filled + next.filled);
  partial.close();
  await expectEnded([nextDisk], machine);
});

test("a machine whose pages cannot be had ends, and so does one that nobody serves any more", async () => {
  const failing = await startEmpty(0);
  expect(await captures.guest.shell(failing.machine.slot, "echo up")).toBe("up\n");
  failing.memory.filler.fail();
  void captures.guest.shell(failing.machine.slot, content).catch(() => {});
  expect(await failing.machine.exited).toMatchObject({ reason: "killed" });
  await expectEnded([failing.memory.filler, failing.disk.filler], failing.machine);

  const orphan = await startEmpty(0);
  expect(await captures.guest.shell(orphan.machine.slot, "echo up")).toBe("up\n");
  await killServers(captures.guest.folder);
  void captures.guest.shell(orphan.machine.slot, content).catch(() => {});
  expect(await orphan.machine.exited).toMatchObject({ reason: "killed" });
  expect(orphan.memory.filler.hasEnded).toBe(true);
  await orphan.machine.kill();
  for (const { filler } of [orphan.memory, orphan.disk]) await filler.close();
});

test("a machine that waits for a page can be ended at once", async () => {
  const { machine, memory, disk } = await startEmpty(0);
  expect(await captures.guest.shell(machine.slot, "echo up")).toBe("up\n");
  await memory.filler.close();
  const next = await fillSlowly({ ...memory, delayMs: 3_600_000 });
  void captures.guest.shell(machine.slot, content).catch(() => {});
  await expect.poll(() => next.wanted, { timeout: 10_000 }).toBeGreaterThan(0);
  await machine.kill();
  expect(await machine.status()).toBe("exited");
  // What it read ahead is still on its way; whoever fills the file ends that.
  next.fail();
  await expectEnded([next, disk.filler], machine);
});
