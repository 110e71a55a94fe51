import { access, constants, mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import { contentHash, run, writeFileAtomic } from "@dormouse/base/node";
import { defaultQemuBinary, qemuVersion } from "./qemu/host.ts";

/** What really runs guests here, and why not more. */
export interface AcceleratorProbe {
  accelerator: "kvm" | "tcg";
  isolation: "hardware" | "emulation";
  qemuVersion: string;
  /** One line for people. */
  reason: string;
}

/** What a probe boots. */
export interface ProbeOptions {
  kernel: string;
  initramfs: string;
  /** Where the answer is remembered until the next boot of the host. */
  cacheDir: string;
  binary?: string;
  signal?: AbortSignal;
}

const bootTimeoutMs = 8_000;
/** The guest's /init says this when it is asked to with `dormouse.probe`. */
const sign = "dormouse: probe ok";
const kvm = "/dev/kvm";

/**
 * Finds out by booting whether KVM runs guests here: a /dev/kvm may exist and boot
 * nothing. Takes up to 8 s once; remembered by kernel, QEMU, the device's mode and boot of the host.
 */
export async function probeAccelerator(options: ProbeOptions): Promise<AcceleratorProbe> {
  const binary = options.binary ?? defaultQemuBinary;
  const version = await qemuVersion(binary);
  const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
  const { size, mtimeMs } = await stat(options.kernel);
  const device = await stat(kvm).then(
    ({ mode, gid }) => `${mode}:${gid}`,
    () => "none",
  );
  const hash = await contentHash("probe-3", version, bootId, options.kernel, `${size}:${mtimeMs}`, device);
  const memo = join(options.cacheDir, `probe-${hash}.json`);
  const known = await readFile(memo, "utf8").catch(() => undefined);
  if (known) return JSON.parse(known) as AcceleratorProbe;
  const problem = await findKvmProblem(binary, options);
  const probe: AcceleratorProbe = problem
    ? { accelerator: "tcg", isolation: "emulation", qemuVersion: version, reason: problem }
    : { accelerator: "kvm", isolation: "hardware", qemuVersion: version, reason: "a guest booted with KVM" };
  await mkdir(options.cacheDir, { recursive: true });
  await writeFileAtomic(memo, JSON.stringify(probe));
  return probe;
}

async function findKvmProblem(binary: string, options: ProbeOptions): Promise<string | undefined> {
  const canOpen = await access(kvm, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!canOpen) return `${kvm} is missing or may not be opened, so guests are emulated`;
  const { gid, mode } = await stat(kvm);
  // VMMs run without root's rights: where only root may open it, the probe finds out whether a change of mode is worth it.
  const isOpenToVmms = (mode & 0o060) === 0o060 || (mode & 0o006) === 0o006;
  const user = isOpenToVmms ? ["--reuid=65534", `--regid=${gid}`, "--clear-groups", "--bounding-set=-all"] : [];
  const command = [
    ...[...user, "--no-new-privs", "--", binary],
    ...["-M", "microvm,acpi=on,pcie=off,rtc=on", "-accel", "kvm", "-cpu", "host", "-m", "256M"],
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
    ...["-kernel", options.kernel, "-initrd", options.initramfs],
    ...["-append", "console=ttyS0 quiet reboot=t panic=-1 dormouse.probe"],
  ];
  let lastLine = "";
  let hasSign = false;
  const onLine = (line: string) => {
    hasSign ||= line.includes(sign);
    lastLine = line.slice(-200);
  };
  const failure = await run("setpriv", command, { timeoutMs: bootTimeoutMs, signal: options.signal, onLine }).then(
    () => undefined,
    (error) => DormouseError.from(error),
  );
  if (failure?.code === "cancelled") throw failure;
  if (hasSign && isOpenToVmms) return undefined;
  if (hasSign) {
    const bits = (mode & 0o777).toString(8).padStart(4, "0");
    return `${kvm} boots guests, but its mode ${bits} keeps it from VMMs, which do not run as root (chgrp kvm ${kvm} && chmod 0660 ${kvm} opens it), so guests are emulated`;
  }
  const why =
    failure?.code === "deadline_exceeded" ? `nothing within ${bootTimeoutMs} ms` : lastLine || "QEMU ends at once";
  return `${kvm} is there but boots no guest (${why}), so guests are emulated`;
}
