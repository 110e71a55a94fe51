import { open, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createId } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { openGuestMemory } from "../guest-memory.ts";
import { createQemuVmm } from "../qemu/driver.ts";
import type { Capture, LayeredDrive, Machine, RestoreSpec, Vmm } from "../vmm.ts";
import { applyCapture, type KeptSnapshot, keepSnapshot } from "./capture-guest.ts";
import { createTestGuest, type RawBootSpec, type TestGuest } from "./test-guest.ts";

/** What tests of captures share: a guest, its template, and what is done and compared with machines of it. */
export function useCaptures() {
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

  return {
    get guest() {
      return guest;
    },
    get vmm() {
      return vmm;
    },
    get template() {
      return template;
    },
    get templateSpec() {
      return templateSpec;
    },
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
    fork,
    killHelper,
    openVmm,
  };
}
