import { readFile } from "node:fs/promises";
import { DormouseError } from "@dormouse/base";
import { run } from "@dormouse/base/node";

/** Where the frequency may be read; tests pass their own texts. */
export interface TscSources {
  kernelLog?: string;
  cpuInfo?: string;
  baseFrequencyKhz?: string;
}

/**
 * Frequency of the host's time stamp counter in kHz. An emulated CPU shows the guest
 * this very counter, and a guest that has to measure it can hang at boot, so it is told.
 *
 * In order of trust: the kernel's own refined calibration, what it detected first, the
 * CPU's base frequency, and the frequency in /proc/cpuinfo (in virtual machines the
 * counter's, on bare metal the momentary clock, near enough to boot with).
 * @throws DormouseError `failed_precondition` when none can be read.
 */
export async function hostTscKhz(sources?: TscSources): Promise<number> {
  const { kernelLog = "", cpuInfo = "", baseFrequencyKhz = "" } = sources ?? (await readSources());
  const mhz =
    /tsc: Refined TSC clocksource calibration: ([\d.]+) MHz/.exec(kernelLog)?.[1] ??
    /tsc: Detected ([\d.]+) MHz/.exec(kernelLog)?.[1];
  if (mhz) return Math.round(Number(mhz) * 1000);
  if (/^\d+$/.test(baseFrequencyKhz.trim())) return Number(baseFrequencyKhz);
  const momentary = /^cpu MHz\s*:\s*([\d.]+)/m.exec(cpuInfo)?.[1];
  if (momentary) return Math.round(Number(momentary) * 1000);
  throw new DormouseError(
    "failed_precondition",
    "the host's TSC frequency is unknown: neither the kernel log nor /proc/cpuinfo tells it",
  );
}

async function readSources(): Promise<TscSources> {
  const read = (path: string) => readFile(path, "utf8").catch(() => "");
  const [kernelLog, cpuInfo, baseFrequencyKhz] = await Promise.all([
    // The log may be forbidden, absent or already overwritten; the other sources are there for that.
    run("dmesg", [], { timeoutMs: 5000 }).then(
      (result) => result.stdout,
      () => "",
    ),
    read("/proc/cpuinfo"),
    read("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency"),
  ]);
  return { kernelLog, cpuInfo, baseFrequencyKhz };
}
