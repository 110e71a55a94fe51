// Cold boots with another core kept busy, which is when an emulated guest used to hang
// early in its boot. Prints JSON: { boots, hangs, failures, p50Ms, p99Ms }; exits 1 when a
// boot did not reach the caller. Usage: node bench/boot.ts [boots]
import { Worker } from "node:worker_threads";
import { createQemuVmm } from "../src/qemu/driver.ts";
import { createTestGuest } from "../src/testing/test-guest.ts";

const boots = Number(process.argv[2] ?? 40);
await using guest = await createTestGuest();
const vmm = await createQemuVmm({ machinesDir: guest.machinesDir, accelerator: "tcg" });
const neighbour = new Worker("for (;;);", { eval: true });
const durationsMs: number[] = [];
let [hangs, failures] = [0, 0];
for (let boot = 0; boot < boots; boot++) {
  const spec = await guest.spec(`boot-${boot}`);
  const startedMs = performance.now();
  try {
    const machine = await vmm.boot(spec, {
      isReady: (signal) => guest.isReady(spec.slot, signal),
      onFailedAttempt: ({ reason, console }) => {
        hangs++;
        process.stderr.write(`boot ${boot}: ${reason}\n${console}\n`);
      },
    });
    durationsMs.push(performance.now() - startedMs);
    await machine.kill();
  } catch (error) {
    failures++;
    process.stderr.write(`boot ${boot}: ${error}\n`);
  }
}
await neighbour.terminate();
durationsMs.sort((a, b) => a - b);
const percentile = (share: number) => Math.round(durationsMs[Math.ceil(durationsMs.length * share) - 1] ?? 0);
const result = { boots, hangs, failures, p50Ms: percentile(0.5), p99Ms: percentile(0.99) };
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exitCode = failures === 0 ? 0 : 1;
