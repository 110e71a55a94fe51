import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createId, type DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { listLayers } from "./layer-folder.ts";
import { readManifest } from "./manifest.ts";
import { identifyProcess } from "./process.ts";
import { createQemuVmm } from "./qemu/driver.ts";
import { applyCapture, keepSnapshot, stateOf } from "./testing/capture-guest.ts";
import { createTestGuest, type RawBootSpec, type TestGuest } from "./testing/test-guest.ts";
import type {
  BootOptions,
  LayeredDrive,
  Machine,
  MachineDrives,
  MachineSlot,
  MachineState,
  RestoreSpec,
  Vmm,
} from "./vmm.ts";

let guest: TestGuest;
let vmm: Vmm;
let template: string;
let templateSpec: RawBootSpec;
let templateSum: string;
const newId = () => createId("machine");
const patienceMs = 30_000;
const scratch = () => join(guest.folder, createId("scratch"));

beforeAll(async () => {
  guest = await createTestGuest();
  templateSpec = await guest.spec(newId());
  const folders = [guest.folder, dirname(templateSpec.kernel), dirname(templateSpec.initramfs)];
  vmm = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg", folders });
  template = join(guest.folder, "template");
  const warm = async () => {
    // Something to compare, and something that is not zero to be overwritten with zeros.
    await guest.shell(templateSpec.slot, "tr '\\0' 'x' </dev/zero | head -c 8000000 >/tmp/ones");
    templateSum = await guest.shell(
      templateSpec.slot,
      "head -c 8000000 /dev/urandom >/tmp/blob; sha256sum /tmp/blob /tmp/ones",
    );
  };
  await vmm.bootTemplate(templateSpec, {
    dir: template,
    warm,
    isReady: (signal) => guest.isReady(templateSpec.slot, signal),
  });
});
afterAll(async () => {
  const left = (await vmm?.list()) ?? [];
  for (const id of left) await vmm.reclaim(id);
  await guest?.[Symbol.asyncDispose]();
  expect(left, "machines that tests left behind").toEqual([]);
});

async function restoreSpec(index: number, more: Partial<RestoreSpec> = {}): Promise<RestoreSpec> {
  const workspace: LayeredDrive = { base: templateSpec.drives.workspace, folder: scratch(), layers: [] };
  const drives = { ...templateSpec.drives, workspace };
  return { id: newId(), slot: await guest.slot(index), drives, template, ...more };
}

/** What a capture is restored from. */
interface CapturedStart {
  state: MachineState;
  drives: MachineDrives & { workspace: LayeredDrive };
}

/** Takes a capture of a machine, which was restored from the template or from another capture, and puts it on that. */
async function captureState(
  machine: Machine,
  options: { from?: CapturedStart; resume?: boolean } = {},
): Promise<CapturedStart> {
  const { from, resume } = options;
  await using capture = await machine.capture({ folder: guest.folder, resume });
  const kept = await keepSnapshot(scratch(), {
    memory: from?.state.memory ?? join(template, "memory"),
    base: from?.drives.workspace.base ?? templateSpec.drives.workspace,
  });
  await applyCapture(kept, capture);
  const { state, workspace } = await stateOf(kept, capture, scratch());
  return { state, drives: { ...templateSpec.drives, workspace } };
}

/** Nothing of a machine is left: no process, no folder, no control group. */
async function expectGone(machine: Machine): Promise<void> {
  expect(identifyProcess(machine.pid)).toBeUndefined();
  expect(await vmm.list()).not.toContain(machine.id);
  const { stdout } = await run("find", ["/sys/fs/cgroup", "-type", "d", "-name", machine.id], { okCodes: [0, 1] });
  expect(stdout).toBe("");
}

/** VMMs that wait for a machine in this slot, or are on their way there. */
async function waiting({ namespace }: MachineSlot): Promise<number[]> {
  const { stdout } = await run("ip", ["netns", "pids", namespace]);
  const pids = stdout.split("\n").filter(Boolean).map(Number);
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return pids.filter((_, index) => commands[index]?.includes("waiting-for-a-machine"));
}

/** The one that waits there, once it is there. */
async function theWaiting(slot: MachineSlot): Promise<number> {
  return await vi.waitUntil(async () => (await waiting(slot))[0], { timeout: patienceMs });
}

describe.each(["started for it", "waiting for it"])("a machine in its jail, its VMM %s", (kind) => {
  const isEarly = kind === "waiting for it";
  let machine: Machine;
  beforeAll(async () => {
    const spec = await restoreSpec(1);
    if (isEarly) await vmm.startEarly(spec.slot);
    const early = isEarly ? await theWaiting(spec.slot) : undefined;
    machine = await vmm.restore(spec);
    if (isEarly) expect(machine.pid).toBe(early);
  });
  afterAll(() => machine.kill());

  test("runs as the slot's user without any privilege", async () => {
    const status = await readFile(`/proc/${machine.pid}/status`, "utf8");
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1];
    const { uid } = machine.slot;
    expect(field("Uid")).toBe([uid, uid, uid, uid].join("\t"));
    expect(field("Gid")).toBe([uid, uid, uid, uid].join("\t"));
    expect(field("Groups")?.trim()).toBe("");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) expect(field(set)).toMatch(/^0+$/);
    expect(field("NoNewPrivs")).toBe("1");
    expect(field("Seccomp"), "2 is filter mode").toBe("2");
  });

  test("is in the slot's network and in namespaces of its own", async () => {
    const inode = async (pid: number | "self", kind: string) => (await stat(`/proc/${pid}/ns/${kind}`)).ino;
    expect(await inode(machine.pid, "net")).toBe((await stat(`/run/netns/${machine.slot.namespace}`)).ino);
    for (const kind of ["mnt", "ipc", "uts"])
      expect(await inode(machine.pid, kind)).not.toBe(await inode("self", kind));
  });

  test("sees of the host's files only what it needs", async () => {
    const root = `/proc/${machine.pid}/root`;
    const entries = await readdir(root);
    expect(entries).toEqual(expect.arrayContaining(["dev", "etc", "usr", "var"]));
    for (const name of ["home", "proc", "root", "run", "sys", "tmp"]) expect(entries).not.toContain(name);
    expect(await readdir(`${root}/etc`)).toEqual(["ld.so.cache"]);
    expect((await readdir(`${root}/dev`)).sort()).toEqual(expect.arrayContaining(["net", "null", "urandom"]));
    await expect(writeFile(`${root}/usr/bin/new`, "")).rejects.toMatchObject({ code: "EROFS" });
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain("dormouse-view");
  });

  test("is in a control group with limits", async () => {
    expect(await readFile(`/proc/${machine.pid}/cgroup`, "utf8")).toContain(`/dormouse/${machine.id}`);
    const memoryMib = machine.resources.memoryMib + vmm.capabilities.overheadMib;
    const find = async (name: string) => {
      const { stdout } = await run("find", ["/sys/fs/cgroup", "-path", `*/dormouse/${machine.id}/${name}`]);
      return (await readFile(stdout.trim(), "utf8")).trim();
    };
    const isV1 = (await readFile(`/proc/${machine.pid}/cgroup`, "utf8")).includes("memory:");
    expect(await find(isV1 ? "memory.limit_in_bytes" : "memory.max")).toBe(String(memoryMib * 1024 ** 2));
    expect(await find("pids.max")).toBe("128");
    expect(await find(isV1 ? "cpu.cfs_quota_us" : "cpu.max")).toMatch(/^125000( 100000)?$/);
    expect((await machine.usage()).memoryMib).toBeGreaterThan(1);
  });

  test("keeps its secrets out of the process list and its core out of files", async () => {
    expect(await readFile(`/proc/${machine.pid}/limits`, "utf8")).toMatch(/Max core file size\s+0\s+0/);
    const environment = (await readFile(`/proc/${machine.pid}/environ`, "utf8")).split("\0").filter(Boolean);
    const expected = [
      // One that waited learned of it later.
      ...(isEarly ? [] : [/^DORMOUSE_TRACK_WRITES=\d+ 536870912$/]),
      /^LANG=C$/,
      isEarly ? /^LD_PRELOAD=\/.*\/track-writes\.so:\/.*\/late-arguments\.so$/ : /^LD_PRELOAD=\/.*\/track-writes\.so$/,
      /^PATH=\/usr\/sbin:\/usr\/bin:\/sbin:\/bin$/,
      /^PWD=\/$/,
    ];
    expect(environment.sort()).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  test("is captured while it runs", async () => {
    await using capture = await machine.capture({ folder: guest.folder });
    expect(capture.rounds).toBeGreaterThan(0);
    expect(await machine.status()).toBe("running");
  });

  test("has an id that cannot be taken twice", async () => {
    const again = await restoreSpec(1, { id: machine.id });
    await expect(vmm.restore(again)).rejects.toThrow(`there is already a machine ${machine.id}`);
    expect(await machine.status()).toBe("running");
  });
});

describe("a VMM that waits", () => {
  test("ends with its slot's use, and is done without when it has died", async () => {
    const slot = await guest.slot(1);
    await vmm.startEarly(slot);
    await vmm.startEarly(slot);
    await theWaiting(slot);
    expect(await waiting(slot)).toHaveLength(1);
    await vmm.endEarly(slot);
    expect(await waiting(slot)).toEqual([]);
    await vmm.startEarly(slot);
    const pid = await theWaiting(slot);
    process.kill(pid, "SIGKILL");
    await vi.waitFor(() => expect(identifyProcess(pid)).toBeUndefined(), { timeout: patienceMs });
    const machine = await vmm.restore(await restoreSpec(1));
    expect(await machine.status()).toBe("running");
    await machine.kill();
  });

  test("ends with the daemon that started it, and leaves nothing for the next", async () => {
    const slot = await guest.slot(1);
    const program = fileURLToPath(new URL("./testing/early-child.ts", import.meta.url));
    const daemon = spawn(process.execPath, [program, guest.machinesDir, JSON.stringify(slot)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let pid: number;
    try {
      await once(daemon.stdout, "data");
      pid = await theWaiting(slot);
    } finally {
      daemon.kill("SIGKILL");
      await once(daemon, "exit");
    }
    await vi.waitFor(() => expect(identifyProcess(pid)).toBeUndefined(), { timeout: patienceMs });
    const next = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg" });
    const left = await readdir(`${guest.machinesDir}-waiting`);
    await next.close();
    expect(left.filter((name) => !name.startsWith(`${process.pid}-`))).toEqual([]);
  });
});

describe("booting", () => {
  test("a boot that hangs is killed and done again", async () => {
    // PID 1 that says nothing, which is how the hang looks from outside.
    const kernelParameters = ["loglevel=0", "rdinit=/bin/busybox", "--", "sleep", "1000"];
    const spec = { ...(await guest.spec(newId(), 2)), kernelParameters };
    const failures: string[] = [];
    const options: BootOptions = {
      isReady: (signal) => guest.isReady(spec.slot, signal),
      firstSignTimeoutMs: 3_000,
      onFailedAttempt(failure) {
        failures.push(`${failure.attempt}: ${failure.reason}`);
        // The next attempt is a healthy one, and may take its time on a busy machine.
        kernelParameters.length = 0;
        options.firstSignTimeoutMs = 100_000;
      },
    };
    const machine = await vmm.boot(spec, options);
    expect(failures).toEqual(["1: the guest hangs: no sign on its console within 3000 ms"]);
    expect(machine.bootAttempts).toBe(2);
    expect(await machine.console()).toContain("test guest is up");
    // The command line holds the guest's first token, so the host's process list may not show it.
    expect(await guest.shell(spec.slot, "cat /proc/cmdline")).toContain("tsc_early_khz=");
    expect(await readFile(`/proc/${machine.pid}/cmdline`, "utf8")).not.toContain("tsc_early_khz=");
    await machine.kill();
    await expectGone(machine);
  });

  test("a guest that cannot come up says why, once", async () => {
    const spec = await guest.spec(newId(), 2);
    const image = join(guest.folder, "not-an-image");
    await writeFile(image, "x".repeat(8192));
    const boot = vmm.boot({ ...spec, drives: { ...spec.drives, image } }, { isReady: async () => false, attempts: 1 });
    await expect(boot).rejects.toThrow(
      "the guest did not come up in 1 attempts: dormouse: boot failed: image drive vdb does not mount as EROFS",
    );
    expect(await vmm.list()).toEqual([]);
  });
});

test("a template is not made where something lies, which stays as it is", async () => {
  const spec = await guest.spec(newId(), 2);
  const boot = vmm.bootTemplate(spec, { dir: template, isReady: async () => true });
  await expect(boot).rejects.toThrow(`there is already a folder ${template}`);
  expect((await readManifest(template)).identity.vmmVersion).toBe(vmm.capabilities.version);
});

describe("restoring", () => {
  test("five machines from one template, each with memory and disk of its own", async () => {
    const before = (await stat(join(template, "memory"))).mtimeMs;
    const specs = await Promise.all([1, 2, 3, 4, 5].map((index) => restoreSpec(index)));
    const machines = await Promise.all(specs.map((spec) => vmm.restore(spec)));
    for (const [index, machine] of machines.entries()) {
      expect(await guest.shell(machine.slot, "sha256sum /tmp/blob /tmp/ones")).toBe(templateSum);
      await guest.shell(machine.slot, `echo ${index} >/tmp/mine; echo ${index} >/disk/mine; sync`);
    }
    for (const [index, machine] of machines.entries()) {
      expect(await guest.shell(machine.slot, "cat /tmp/mine /disk/mine")).toBe(`${index}\n${index}\n`);
      // Far less than the guest's memory: what is not written is shared.
      expect((await machine.usage()).memoryMib).toBeLessThan(machine.resources.memoryMib / 2);
    }
    await Promise.all(machines.map((machine) => machine.kill()));
    for (const machine of machines) await expectGone(machine);
    expect((await stat(join(template, "memory"))).mtimeMs).toBe(before);
  });

  test("a paused guest stands still until it is resumed", async () => {
    const machine = await vmm.restore(await restoreSpec(1, { resume: false }));
    expect(await machine.status()).toBe("paused");
    let isAnswered = false;
    const answer = guest.shell(machine.slot, "echo awake").then((text) => {
      isAnswered = true;
      return text;
    });
    const { cpuMs } = await machine.usage();
    for (let turn = 0; turn < 20; turn++) expect(await machine.status()).toBe("paused");
    expect(isAnswered).toBe(false);
    expect((await machine.usage()).cpuMs - cpuMs, "the VMM answers questions and no more").toBeLessThan(100);
    await machine.resume();
    expect(await answer).toBe("awake\n");
    await machine.pause();
    expect(await machine.status()).toBe("paused");
    await machine.kill();
  });

  test("refuses what does not fit, by name", async () => {
    const { identity } = await readManifest(template);
    const copy = join(guest.folder, "other-template");
    await run("cp", ["-r", "--sparse=always", template, copy]);
    const manifest = await readFile(join(template, "manifest.json"), "utf8");
    await writeFile(join(copy, "manifest.json"), manifest.replace(identity.vmmVersion, "1.2.3"));
    await expect(vmm.restore(await restoreSpec(1, { template: copy }))).rejects.toThrow(
      `the snapshot's VMM version is 1.2.3; this host has ${identity.vmmVersion}`,
    );
    await expect(vmm.restore(await restoreSpec(1, { template: "/nowhere" }))).rejects.toThrow(
      "no template in /nowhere",
    );
    await writeFile(join(copy, "manifest.json"), manifest);
    const devices = await readFile(join(copy, "devices"));
    devices[1000] = (devices[1000] ?? 0) ^ 1;
    await writeFile(join(copy, "devices"), devices);
    await expect(vmm.restore(await restoreSpec(1, { template: copy }))).rejects.toThrow("devices is damaged");
    await truncate(join(copy, "memory"), 4096);
    await expect(vmm.restore(await restoreSpec(1, { template: copy }))).rejects.toThrow(
      "memory has 4096 bytes, not 536870912",
    );
    await expect(vmm.restore(await restoreSpec(1, { template: undefined }))).rejects.toThrow(
      "restore takes either template or state, and got neither",
    );
    const state = { identity, memory: join(template, "memory"), devices };
    await expect(vmm.restore(await restoreSpec(1, { state }))).rejects.toThrow(
      "restore takes either template or state, and got both",
    );
    expect(await vmm.list()).toEqual([]);
  });
});

describe("a captured machine", () => {
  test("comes back with its memory, also the pages that became zero", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    await guest.shell(machine.slot, "dd if=/dev/zero of=/tmp/ones bs=1000000 count=4 conv=notrunc");
    const sum = await guest.shell(
      machine.slot,
      "head -c 9000000 /dev/urandom >/tmp/blob; sha256sum /tmp/blob /tmp/ones",
    );
    const first = await captureState(machine);
    expect(await machine.status(), "the machine goes on").toBe("running");
    const woken = await vmm.restore({ id: newId(), slot: await guest.slot(2), ...first });
    expect(await guest.shell(woken.slot, "sha256sum /tmp/blob /tmp/ones")).toBe(sum);
    expect(await guest.shell(machine.slot, "sha256sum /tmp/blob /tmp/ones")).toBe(sum);

    // And again, from what was itself restored from a capture.
    const second = await captureState(woken, { from: first, resume: false });
    expect(await woken.status()).toBe("paused");
    await woken.kill();
    const again = await vmm.restore({ id: newId(), slot: await guest.slot(3), ...second });
    expect(await guest.shell(again.slot, "sha256sum /tmp/blob /tmp/ones")).toBe(sum);
    await Promise.all([machine.kill(), again.kill()]);
  });

  test("is refused when it does not fit or is damaged, by name, and nothing stays behind", async () => {
    const machine = await vmm.restore(await restoreSpec(1));
    const { state, drives } = await captureState(machine, { resume: false });
    await machine.kill();
    const restore = async (changed: Partial<MachineState>) =>
      vmm.restore({ id: newId(), slot: await guest.slot(2), drives, state: { ...state, ...changed } });
    const { identity, devices } = state;
    await expect(restore({ identity: { ...identity, vmmVersion: "1.2.3" } })).rejects.toThrow(
      `the snapshot's VMM version is 1.2.3; this host has ${identity.vmmVersion}`,
    );
    await expect(restore({ identity: { ...identity, cpu: "host" } })).rejects.toThrow(
      "the snapshot's CPU model is host",
    );
    const larger = { ...identity, resources: { ...identity.resources, memoryMib: 1024 } };
    await expect(restore({ identity: larger })).rejects.toThrow(
      `the memory ${state.memory} has 536870912 bytes, not 1073741824`,
    );
    await expect(restore({ memory: "/nowhere" })).rejects.toThrow("the memory /nowhere is missing");
    await expect(restore({ devices: devices.subarray(0, devices.length >> 1) })).rejects.toMatchObject({
      code: "data_loss",
    });
    await expect(restore({ devices: Buffer.from("no device state") })).rejects.toMatchObject({ code: "data_loss" });
    expect(await vmm.list()).toEqual([]);
    expect(await listLayers(drives.workspace.folder)).toEqual([]);
  });
});

describe("the end of a machine", () => {
  test.each([
    {
      how: "is killed from outside",
      reason: "killed",
      end: (machine: Machine) => process.kill(machine.pid, "SIGKILL"),
    },
    { how: "shuts down", reason: "guest_shutdown", end: (machine: Machine) => shellOff(machine, "poweroff -f") },
    { how: "reboots", reason: "guest_reboot", end: (machine: Machine) => shellOff(machine, "reboot -f") },
    {
      how: "panics",
      reason: "guest_panic",
      end: (machine: Machine) => shellOff(machine, "echo c >/proc/sysrq-trigger"),
    },
  ])("is noticed when it $how", async ({ reason, end }) => {
    const machine = await vmm.restore(await restoreSpec(1));
    const exit = new Promise((resolve) => machine.onExit(resolve));
    end(machine);
    expect(await exit).toMatchObject({ reason });
    expect(await machine.status()).toBe("exited");
    await expect(machine.resume()).rejects.toMatchObject({ code: "unavailable" } satisfies Partial<DormouseError>);
    await machine.kill();
    await expectGone(machine);
  });
});

test("a machine outlives the process that started it and is adopted", async () => {
  const spec = await restoreSpec(1);
  const program = fileURLToPath(new URL("testing/adoption-child.ts", import.meta.url));
  const child = spawn(process.execPath, [program, guest.machinesDir, JSON.stringify(spec)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [pid] = await once(child.stdout, "data");
  await guest.shell(spec.slot, "echo before >/tmp/when");
  child.kill("SIGKILL");
  await once(child, "exit");

  expect(await vmm.list()).toEqual([spec.id]);
  const machine = await vmm.adopt(spec.id);
  expect(machine.pid).toBe(Number(pid.toString()));
  expect(machine.slot).toEqual(spec.slot);
  expect(await machine.status()).toBe("running");
  expect(await guest.shell(spec.slot, "cat /tmp/when")).toBe("before\n");

  machine.release();
  const again = await vmm.adopt(spec.id);
  process.kill(again.pid, "SIGKILL");
  expect(await again.exited).toMatchObject({ reason: "killed" });
  await expect(vmm.adopt(spec.id)).rejects.toThrow(`machine ${spec.id} no longer runs`);
  await vmm.reclaim(spec.id);
  await expectGone(again);
});

/** The connection dies with the guest, so no answer is awaited. */
function shellOff(machine: Machine, command: string): void {
  guest.shell(machine.slot, command).catch(() => {});
}
