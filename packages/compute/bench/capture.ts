// Captures of a running guest that has written 250 MB, after it has written 1 %, 10 % and 50 % of that again: how long it
// stands still (with 5 MB written to its drive each time), how long all takes, and how much is copied. Prints one JSON
// document; the ratio is to a bare `stop` and `cont`, from the call to the second answer, in the same run.
// Usage: node bench/capture.ts [captures of each size]
import { join } from "node:path";
import { createQemuVmm } from "../src/qemu/driver.ts";
import { createTestGuest } from "../src/testing/test-guest.ts";
import type { Machine } from "../src/vmm.ts";

const rounds = Number(process.argv[2] ?? 10);
const writtenMb = 250;
const shares = [1, 10, 50];

interface Sample {
  pauseMs: number;
  totalMs: number;
  confirmMs: number;
  copiedMb: number;
  copiedStoppedMb: number;
  keptMb: number;
}

await using guest = await createTestGuest();
const vmm = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg" });
const templateSpec = await guest.spec("template");
const template = join(guest.folder, "template");
await vmm.bootTemplate(templateSpec, { dir: template, isReady: (signal) => guest.isReady(templateSpec.slot, signal) });
const slot = await guest.slot(1);
const workspace = { base: templateSpec.drives.workspace, folder: join(guest.folder, "drive"), layers: [] };
const machine = await vmm.restore({ id: "bench", slot, drives: { ...templateSpec.drives, workspace }, template });
await guest.shell(slot, `head -c ${writtenMb}000000 /dev/urandom >/tmp/data`);

const first = await capture(machine);
const sizes: Record<string, unknown> = {};
const bareMs: number[] = [];
for (const share of shares) {
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    const count = Math.round((writtenMb * share) / 100);
    await guest.shell(
      slot,
      `dd if=/dev/urandom of=/tmp/data bs=1000000 count=${count} conv=notrunc; dd if=/dev/urandom of=/disk/data bs=1000000 count=5 conv=notrunc; sync`,
    );
    const startedMs = performance.now();
    await machine.pause();
    await machine.resume();
    bareMs.push(performance.now() - startedMs);
    samples.push(await capture(machine));
  }
  sizes[`${share}%`] = summary(samples);
}
await machine.kill();
const bare = percentiles(bareMs);
const result = {
  method: vmm.capabilities.liveSnapshot ? "tracked" : "paused",
  writtenMb,
  bareStopAndContMs: bare,
  first: summary([first]),
  sizes,
};
process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);

async function capture(of: Machine): Promise<Sample> {
  await using taken = await of.capture({ folder: guest.folder });
  const startedMs = performance.now();
  await taken.confirm();
  return {
    pauseMs: taken.pauseMs,
    totalMs: taken.totalMs,
    confirmMs: performance.now() - startedMs,
    copiedMb: taken.copiedBytes / 1e6,
    copiedStoppedMb: taken.copiedStoppedBytes / 1e6,
    keptMb: (taken.memory.blocks.length * 65536) / 1e6,
  };
}

function summary(samples: Sample[]) {
  const of = (name: keyof Sample) => percentiles(samples.map((sample) => sample[name]));
  const pauseMs = of("pauseMs");
  return {
    pauseMs,
    pauseToBare: Number((pauseMs.p50 / percentiles(bareMs).p50).toFixed(1)),
    totalMs: of("totalMs"),
    confirmMs: of("confirmMs"),
    copiedMb: of("copiedMb").p50,
    copiedStoppedMb: of("copiedStoppedMb").p50,
    keptMb: of("keptMb").p50,
  };
}

function percentiles(values: number[]): { p50: number; p99: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => Number((sorted[Math.ceil(sorted.length * share) - 1] ?? 0).toFixed(1));
  return { p50: at(0.5), p99: at(0.99) };
}
