import { expect, test } from "vitest";
import { hostTscKhz } from "./host-cpu.ts";

const detected = "[    0.000062] tsc: Detected 2445.422 MHz processor\n";
const refined = "[    1.700000] tsc: Refined TSC clocksource calibration: 2445.404 MHz\n";
const cpuInfo = "model name\t: Some CPU\ncpu MHz\t\t: 3100.500\n";

test("the kernel's refined calibration is trusted most, the momentary clock least", async () => {
  expect(await hostTscKhz({ kernelLog: detected + refined, baseFrequencyKhz: "2400000\n", cpuInfo })).toBe(2_445_404);
  expect(await hostTscKhz({ kernelLog: detected, baseFrequencyKhz: "2400000\n", cpuInfo })).toBe(2_445_422);
  expect(await hostTscKhz({ baseFrequencyKhz: "2400000\n", cpuInfo })).toBe(2_400_000);
  expect(await hostTscKhz({ cpuInfo })).toBe(3_100_500);
});

test("nothing is guessed", async () => {
  await expect(hostTscKhz({ cpuInfo: "model name\t: Some CPU\n" })).rejects.toThrow("TSC frequency is unknown");
});

test("this machine tells its own", async () => {
  expect(await hostTscKhz()).toBeGreaterThan(500_000);
});
