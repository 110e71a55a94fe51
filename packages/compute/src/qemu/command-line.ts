import { DormouseError } from "@dormouse/base";
import type { MachineDrives, MachineResources } from "../vmm.ts";
import type { BlockNode } from "./qmp-schema.ts";

/**
 * A fixed list that performs like the host's own model under emulation: device state
 * stays loadable wherever this QEMU runs. `arat` keeps an idle guest from ticking.
 */
const emulatedCpu = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+sha-ni,+aes,+rdrand,+rdseed,+arat";

/** Translated code kept by the emulator; less makes compilers four times slower. */
const translationBufferMib = 128;

/** What the guest wrote to its console last is kept in a ring of this size, inside the VMM. */
export const consoleBytes = 64 * 1024;

/** The same in all machines, as all else inside, and the one that slots expect (`inner.guestMac` of network). */
const guestMac = "02:64:6d:00:00:02";

/** The machine type of every guest, part of a snapshot's identity. */
export const machineType = "microvm,acpi=on,pcie=off,rtc=on,pit=off,pic=off,suppress-vmdesc=on";

/** The CPU model for an accelerator, part of a snapshot's identity. */
export function cpuModel(accelerator: "kvm" | "tcg"): string {
  return accelerator === "kvm" ? "host" : emulatedCpu;
}

/** How the guest's memory lies in a file. */
export interface MemoryMapping {
  file: string;
  /**
   * `shared`: what the guest writes goes to the file, which becomes a template.
   * `private`: the file stays as it is, however many machines start from it.
   */
  mode: "shared" | "private";
}

/** The layers of a drive, lowest first; the last is written to. */
export interface DriveStack {
  base: string;
  layers: readonly { number: number; path: string }[];
}

/** All that a QEMU process is started from. */
export interface QemuSpec {
  id: string;
  accelerator: "kvm" | "tcg";
  resources: MachineResources;
  memory: MemoryMapping;
  drives: Omit<MachineDrives, "workspace"> & { workspace: string | DriveStack };
  tap: string;
  /** Path of the control socket that QEMU opens. */
  controlSocket: string;
  start: { kind: "boot"; kernel: string; initramfs: string; configFile: string } | { kind: "restore" };
}

/**
 * QEMU's arguments for a machine. Order matters: guests find drives as vda, vdb, vdc in
 * this order, and device state is loaded by position.
 */
export function qemuArguments(spec: QemuSpec): string[] {
  const { resources, memory } = spec;
  const accelerator = spec.accelerator === "tcg" ? `tcg,tb-size=${translationBufferMib}` : "kvm";
  // A private mapping is opened read-only, so that nothing the guest does, ballooning
  // included, can reach the template; `rom=off` keeps it writable memory for the guest.
  const mapping = memory.mode === "shared" ? "share=on" : "share=off,readonly=on,rom=off";
  return [
    ...["-name", `guest=${spec.id}`],
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    // A guest that ends is kept standing, so that its last words can be read; the host then quits it.
    ...["-action", "reboot=shutdown,shutdown=pause,panic=shutdown"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-machine", `${machineType},mem-merge=off,memory-backend=memory`],
    ...["-accel", accelerator],
    ...["-cpu", cpuModel(spec.accelerator)],
    ...["-smp", String(resources.vcpus)],
    ...["-m", `${resources.memoryMib}M`],
    "-object",
    `memory-backend-file,id=memory,size=${resources.memoryMib}M,mem-path=${escapeOption(memory.file)},${mapping}`,
    ...drive("vda", spec.drives.system, true),
    ...drive("vdb", spec.drives.image, true),
    ...workspaceDrive(spec.drives.workspace),
    ...["-netdev", `tap,id=network,ifname=${spec.tap},script=no,downscript=no`],
    ...["-device", `virtio-net-device,netdev=network,id=eth0,mac=${guestMac}`],
    ...["-object", "rng-builtin,id=entropy", "-device", "virtio-rng-device,rng=entropy,id=rng"],
    ...["-chardev", `ringbuf,id=console,size=${consoleBytes}`, "-serial", "chardev:console"],
    ...["-chardev", `socket,id=control,path=${escapeOption(spec.controlSocket)},server=on,wait=off`],
    ...["-mon", "chardev=control,mode=control"],
    ...start(spec.start),
  ];
}

/**
 * The kernel's command line.
 * @param tscKhz told to the guest because measuring it can hang an emulated boot.
 */
export function kernelCommandLine(
  accelerator: "kvm" | "tcg",
  tscKhz: number,
  parameters: readonly string[] = [],
): string {
  const console = ["console=ttyS0", "quiet", "reboot=t", "panic=-1"];
  // An emulated CPU does not speculate, so guarding against it only costs.
  const emulation = accelerator === "tcg" ? [`tsc_early_khz=${tscKhz}`, "mitigations=off"] : [];
  return [...console, ...emulation, ...parameters].join(" ");
}

/**
 * The part of the configuration that goes through a file, because the kernel's command
 * line holds the guest's first token and a process list is for everybody to read.
 */
export function bootConfiguration(commandLine: string): string {
  if (/["\r\n]/.test(commandLine)) {
    throw new DormouseError("invalid_argument", "kernel parameters may not hold quotes or line breaks");
  }
  return `[machine]\n  append = "${commandLine}"\n`;
}

function start(from: QemuSpec["start"]): string[] {
  if (from.kind === "boot") return ["-kernel", from.kernel, "-initrd", from.initramfs, "-readconfig", from.configFile];
  // The stream holds no configuration section when it comes from xen-save-devices-state.
  return ["-global", "migration.send-configuration=off", "-incoming", "defer", "-S"];
}

/** QEMU's name for what all layers of the workspace drive lie on. */
export const baseNode = "vdc-base";

/** QEMU's name for the layer of a number. */
export function layerNode(number: number): string {
  return `vdc-layer-${number}`;
}

/** Tables of a layer that are kept in memory: those of 32 GiB. By default it is 32 MiB for each layer. */
const tableCacheBytes = 4 * 1024 * 1024;

/** How QEMU opens a layer. What lies below is named here, so that no name in a file is ever followed. */
export function layerBlockdev(
  path: string,
  number: number,
  options: { backing: string | null; isReadOnly?: boolean },
): BlockNode {
  const isReadOnly = options.isReadOnly ?? false;
  return {
    driver: "qcow2",
    "node-name": layerNode(number),
    "read-only": isReadOnly,
    discard: "unmap",
    backing: options.backing,
    "l2-cache-size": tableCacheBytes,
    // Forks share frozen layers; the one that is written to is nobody else's.
    file: { driver: "file", filename: path, aio: "threads", locking: isReadOnly ? "off" : "on", discard: "unmap" },
  };
}

function workspaceDrive(workspace: string | DriveStack): string[] {
  if (typeof workspace === "string") return drive("vdc", workspace, false);
  const base: BlockNode = {
    driver: "raw",
    "node-name": baseNode,
    "read-only": true,
    discard: "ignore",
    file: { driver: "file", filename: workspace.base, aio: "threads", locking: "off" },
  };
  const nodes = [base];
  for (const [index, { number, path }] of workspace.layers.entries()) {
    const backing = nodes.at(-1)?.["node-name"] ?? null;
    nodes.push(layerBlockdev(path, number, { backing, isReadOnly: index < workspace.layers.length - 1 }));
  }
  const top = nodes.at(-1)?.["node-name"];
  return [
    ...nodes.flatMap((node) => ["-blockdev", JSON.stringify(node)]),
    ...["-device", `virtio-blk-device,drive=${top},id=vdc-device`],
  ];
}

function drive(id: string, path: string, isReadOnly: boolean): string[] {
  const node = {
    driver: "raw",
    "node-name": id,
    "read-only": isReadOnly,
    discard: isReadOnly ? "ignore" : "unmap",
    file: {
      driver: "file",
      filename: path,
      aio: "threads",
      // Many machines share a read-only drive; nobody else has a workspace's.
      locking: isReadOnly ? "off" : "on",
    },
  };
  return ["-blockdev", JSON.stringify(node), "-device", `virtio-blk-device,drive=${id},id=${id}-device`];
}

/** In QEMU's option strings a comma is written twice. */
function escapeOption(value: string): string {
  return value.replaceAll(",", ",,");
}
