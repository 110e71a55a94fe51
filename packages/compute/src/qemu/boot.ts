import { DormouseError, sleep, withTimeout } from "@dormouse/base";
import type { BootOptions, BootSpec, MachineResources } from "../vmm.ts";
import { bootConfiguration, kernelCommandLine, type MemoryMapping } from "./command-line.ts";
import type { QemuHost } from "./host.ts";
import { launch, writeForVmm } from "./launch.ts";
import type { QemuMachine } from "./machine.ts";

const defaults = { attemptTimeoutMs: 120_000, firstSignTimeoutMs: 20_000, attempts: 3 };
const pollMs = 50;
/** One look at the guest may not take longer; a guest that answers so late is asked again. */
const lookTimeoutMs = 5_000;

/**
 * Boots a guest under a watchdog: an attempt that hangs, or ends, is taken down
 * completely and made again.
 * @throws DormouseError of the last attempt, with the number of attempts; nothing stays behind.
 */
export async function bootWatched(
  host: QemuHost,
  spec: BootSpec,
  options: BootOptions & { memory?: () => Promise<MemoryMapping> },
): Promise<QemuMachine> {
  checkResources(spec.resources, host);
  const attempts = options.attempts ?? defaults.attempts;
  for (let attempt = 1; ; attempt++) {
    const machine = await launch(
      host,
      {
        ...spec,
        bootAttempts: attempt,
        memory: await options.memory?.(),
        async start(paths) {
          const { accelerator, tscKhz } = host.identity;
          const commandLine = kernelCommandLine(accelerator, tscKhz, spec.kernelParameters);
          await writeForVmm(paths.bootConfiguration, bootConfiguration(commandLine), spec.slot);
          const { kernel, initramfs } = spec;
          return { kind: "boot", kernel, initramfs, configFile: paths.bootConfiguration };
        },
      },
      options.signal,
    );
    try {
      await waitUntilReady(machine, options);
      await machine.markReady();
      return machine;
    } catch (caught) {
      const error = DormouseError.from(caught);
      const console = await machine.console();
      await machine.abandon();
      if (options.signal?.aborted) throw error;
      options.onFailedAttempt?.({ attempt, reason: error.message, console });
      if (attempt < attempts) continue;
      const tail = console.trim().split("\n").slice(-5).join("\n");
      throw new DormouseError(
        error.code,
        `the guest did not come up in ${attempts} attempts: ${error.message}${tail ? `; its console ends with:\n${tail}` : ""}`,
        { cause: error },
      );
    }
  }
}

async function waitUntilReady(machine: QemuMachine, options: BootOptions): Promise<void> {
  const timeoutMs = options.attemptTimeoutMs ?? defaults.attemptTimeoutMs;
  const stop = new AbortController();
  const ended = machine.exited.then((exit) => {
    throw new DormouseError("unavailable", exit.message);
  });
  const wait = async (signal: AbortSignal) => {
    const either = AbortSignal.any([signal, stop.signal]);
    await Promise.race([pollReady(options, either), watchFirstSign(machine, options, either), ended]);
  };
  try {
    await withTimeout("booting the guest", timeoutMs, wait, options.signal);
  } finally {
    stop.abort();
    ended.catch(() => {
      // Reported above if it mattered; later ends are the machine's own business.
    });
  }
}

async function pollReady(options: BootOptions, signal: AbortSignal): Promise<void> {
  for (;;) {
    const look = withTimeout("a look at the guest", lookTimeoutMs, (own) => options.isReady(own), signal);
    // A guest that is not up yet refuses connections; that is a no.
    if (await look.catch(() => false)) return;
    await sleep(pollMs, signal);
  }
}

/** Rejects when the guest stays silent; else stays pending, because speaking is not yet being ready. */
async function watchFirstSign(machine: QemuMachine, options: BootOptions, signal: AbortSignal): Promise<never> {
  const timeoutMs = options.firstSignTimeoutMs ?? defaults.firstSignTimeoutMs;
  await sleep(timeoutMs, signal);
  if ((await machine.console()).length === 0) {
    throw new DormouseError("deadline_exceeded", `the guest hangs: no sign on its console within ${timeoutMs} ms`);
  }
  return new Promise(() => {});
}

function checkResources({ vcpus, memoryMib }: MachineResources, host: QemuHost): void {
  const { maxVcpus } = host.capabilities;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > maxVcpus) {
    throw new DormouseError(
      "invalid_argument",
      `vcpus is ${vcpus}; this VMM takes a whole number from 1 to ${maxVcpus}`,
    );
  }
  if (!Number.isInteger(memoryMib) || memoryMib < 256 || memoryMib > 1024 * 1024) {
    throw new DormouseError(
      "invalid_argument",
      `memoryMib is ${memoryMib}; it must be a whole number from 256 to 1048576`,
    );
  }
}
