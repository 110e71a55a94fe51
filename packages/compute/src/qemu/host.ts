import { mkdir, stat } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";
import { type CgroupSystem, detectCgroups } from "../cgroup.ts";
import { createFileView, type FileView } from "../file-view.ts";
import { hostTscKhz } from "../host-cpu.ts";
import type { MachineIdentity } from "../manifest.ts";
import { type NativeTools, openNativeTools } from "../native.ts";
import { openPartialFiles, type PartialFiles } from "../partial-file.ts";
import type { VmmCapabilities } from "../vmm.ts";
import { cpuModel, machineType } from "./command-line.ts";
import { EarlyProcesses } from "./early.ts";

/** QEMU's program on Debian. */
export const defaultQemuBinary = "qemu-system-x86_64";

/** Older versions lack the microvm machine's `-action` and device-state handling relied on here. */
const minMajorVersion = 8;

/** What the driver knows of the host it runs on. */
export interface QemuHost {
  machinesDir: string;
  binary: string;
  cgroups: CgroupSystem;
  capabilities: VmmCapabilities;
  identity: Omit<MachineIdentity, "resources">;
  /** What VMMs see of the host's files; absent: whatever their user may. */
  fileView?: FileView;
  /** Groups the VMM needs beside its own: that of /dev/kvm. */
  groups: readonly number[];
  /** What captures copy memory with; absent: they copy it while the guest stands still. */
  tools?: NativeTools;
  /** Shows VMMs files that are still being filled; absent where that is not possible. */
  partialFiles?: PartialFiles;
  /** VMMs that wait for their machines; absent where that is not possible. */
  early?: EarlyProcesses;
}

/** How a host's QEMU is used. */
export interface QemuHostOptions {
  /** Folder with one folder per machine; created when missing. */
  machinesDir: string;
  /** As found out by probing, see `probeAccelerator`. */
  accelerator: "kvm" | "tcg";
  binary?: string;
  /** Of the program, when it has been asked for already. */
  version?: string;
  /**
   * Where kernels, drives and templates lie. When given, VMMs see these folders and
   * machinesDir, programs and libraries, and nothing else of the host's files.
   */
  folders?: readonly string[];
  /** Where native programs are kept once compiled. Default: DORMOUSE_CACHE, else /var/cache/dormouse. */
  cacheDir?: string;
  /** False: nothing is loaded into VMMs, and captures copy memory while the guest stands still. Default true. */
  tracksWrites?: boolean;
}

/**
 * Looks at the host once.
 * @throws DormouseError `not_found` without QEMU, `failed_precondition` when it is too old.
 */
export async function inspectQemuHost(options: QemuHostOptions): Promise<QemuHost> {
  const { machinesDir, accelerator } = options;
  // Others may pass through, to their own folder, but not look around.
  await mkdir(machinesDir, { recursive: true, mode: 0o711 });
  const binary = options.binary ?? defaultQemuBinary;
  const [version, tscKhz, cgroups, { tools, problem, fileView }] = await Promise.all([
    options.version ?? qemuVersion(binary),
    hostTscKhz(),
    detectCgroups(),
    findToolsAndView(options),
  ]);
  const groups = accelerator === "kvm" ? [(await stat("/dev/kvm")).gid] : [];
  // Beside the machines' folder, in which everything is a machine.
  const root = `${machinesDir}-waiting`;
  const [partial, early] = await Promise.all([
    findPartialFiles(tools, fileView),
    tools && EarlyProcesses.open({ root, binary, tools, fileView, groups }),
  ]);
  return {
    machinesDir,
    binary,
    early,
    cgroups,
    fileView,
    tools,
    partialFiles: partial.files,
    groups,
    identity: { vmm: "qemu", vmmVersion: version, accelerator, machineType, cpu: cpuModel(accelerator), tscKhz },
    capabilities: {
      vmm: "qemu",
      version,
      accelerator,
      isolation: accelerator === "kvm" ? "hardware" : "emulation",
      copyOnWriteRestore: true,
      liveSnapshot: tools !== undefined,
      liveSnapshotProblem: problem,
      partialFiles: partial.files !== undefined,
      partialFilesProblem: partial.problem,
      resourceLimits: cgroups.version !== "none",
      maxVcpus: 8,
      // The emulator keeps 128 MiB of translated code beside its own data.
      overheadMib: accelerator === "kvm" ? 96 : 256,
    },
  };
}

/** The tools lie where VMMs must see them. */
async function findToolsAndView(options: QemuHostOptions) {
  const found = await findTools(options);
  const visible = [options.machinesDir, ...(found.tools ? [found.tools.folder] : []), ...(options.folders ?? [])];
  return { ...found, fileView: options.folders ? await createFileView(visible) : undefined };
}

/** Without them the driver works as well, and says what it is that lacks. */
async function findTools(options: QemuHostOptions): Promise<{ tools?: NativeTools; problem?: string }> {
  if (options.tracksWrites === false) return { problem: "tracking of writes is switched off" };
  const cacheDir = options.cacheDir ?? process.env.DORMOUSE_CACHE ?? "/var/cache/dormouse";
  return openNativeTools(cacheDir).then(
    (tools) => ({ tools }),
    (error: unknown) => ({ problem: DormouseError.from(error).message }),
  );
}

async function findPartialFiles(
  tools: NativeTools | undefined,
  view: FileView | undefined,
): Promise<{ files?: PartialFiles; problem?: string }> {
  if (!tools || !view) return { problem: `without ${tools ? "a file view" : "native programs"} of its own` };
  return openPartialFiles(tools, view).then(
    (files) => ({ files }),
    (error: unknown) => ({ problem: DormouseError.from(error).message }),
  );
}

/**
 * The version of a QEMU program, e.g. `10.0.2`.
 * @throws DormouseError `not_found` without it, `failed_precondition` when it is too old.
 */
export async function qemuVersion(binary: string = defaultQemuBinary): Promise<string> {
  const { stdout } = await run(binary, ["--version"], { timeoutMs: 10_000 });
  const version = /version (\d+)\.(\d+)\.(\d+)/.exec(stdout);
  if (!version) throw new DormouseError("failed_precondition", `${binary} --version says nothing known: ${stdout}`);
  if (Number(version[1]) < minMajorVersion) {
    throw new DormouseError(
      "failed_precondition",
      `${binary} is version ${version.slice(1).join(".")}; at least ${minMajorVersion}.0 is needed (on Debian 12: from backports)`,
    );
  }
  return version.slice(1).join(".");
}
