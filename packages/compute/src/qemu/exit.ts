import type { MachineExit } from "../vmm.ts";

/** Data of QMP's SHUTDOWN event; reasons are QAPI's `ShutdownCause`. */
export interface ShutdownEvent {
  guest: boolean;
  reason: string;
}

/** What is known when a VMM is gone. */
export interface ExitFacts {
  isRequested: boolean;
  shutdown?: ShutdownEvent;
  outOfMemoryKills: number;
  /** The VMM's own output. */
  log: string;
  /** What the guest wrote to its console last. */
  console: string;
}

/** Finds the reason for a machine's end, the most telling fact first. */
export function exitOf(facts: ExitFacts): MachineExit {
  if (facts.isRequested) return { reason: "requested", message: "the host ended the machine" };
  if (facts.outOfMemoryKills > 0) {
    return { reason: "out_of_memory", message: "the VMM used more memory than its limit and was killed by the kernel" };
  }
  const bootFailure = /^dormouse: boot failed: .*$/m.exec(facts.console)?.[0].trim();
  if (bootFailure) return { reason: "failed", message: bootFailure };
  const panic = /^(?:\[[ .\d]+\] )?Kernel panic - .*$/m.exec(facts.console)?.[0].trim();
  if (panic || facts.shutdown?.reason === "guest-panic") {
    return { reason: "guest_panic", message: panic ?? "the guest's kernel panicked" };
  }
  switch (facts.shutdown?.reason) {
    case "guest-shutdown":
      return { reason: "guest_shutdown", message: "the guest shut itself down" };
    case "guest-reset":
      return { reason: "guest_reboot", message: "the guest rebooted, which ends a machine" };
    case "host-signal":
      return { reason: "killed", message: "the VMM was ended by a signal from outside" };
  }
  const lastWords = facts.log.trim().split("\n").at(-1)?.slice(-500);
  if (lastWords) return { reason: "failed", message: `the VMM failed: ${lastWords}` };
  return { reason: "killed", message: "the VMM was killed from outside" };
}
