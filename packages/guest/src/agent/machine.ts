import { readFileSync, statfsSync } from "node:fs";
import { loadavg, uptime } from "node:os";
import type { GuestActivity, GuestMetrics } from "@dormouse/contract/guest-schemas";
import type { ExecService } from "./exec.ts";
import type { PtyService } from "./pty.ts";
import type { Machine } from "./session.ts";

/** What {@link createMachineService} works with. */
export interface MachineServiceOptions {
  machine: Machine;
  exec: ExecService;
  pty: PtyService;
}

/** `machine.*`: garbage, metrics, activity. */
export type MachineService = ReturnType<typeof createMachineService>;

/** Looks after the machine as a whole. */
export function createMachineService(options: MachineServiceOptions) {
  const { machine, exec, pty } = options;
  const activity = { lastRequestMs: Date.now(), channels: 0 };
  return {
    /** The server counts channels and marks requests here. */
    activity,

    collectGarbage,

    metrics(): GuestMetrics {
      const memory = memoryBytes(machine.root);
      const disk = statfsSync(`${machine.root}/`);
      return {
        uptimeSeconds: uptime(),
        load1: loadavg()[0] ?? 0,
        cpuCount: navigator.hardwareConcurrency,
        memoryTotalBytes: memory.MemTotal ?? 0,
        memoryAvailableBytes: memory.MemAvailable ?? 0,
        diskTotalBytes: disk.blocks * disk.bsize,
        diskFreeBytes: disk.bavail * disk.bsize,
        processCount: processCount(machine.root),
        agentMemoryBytes: process.memoryUsage.rss(),
      };
    },

    report(): GuestActivity {
      return {
        ...activity,
        lastTerminalOutputMs: pty.lastOutputMs,
        runningProcesses: exec.runningCount,
        ptys: pty.count,
      };
    },
  };
}

/**
 * Before a snapshot: a machine restored from it does not begin with collecting what was young garbage then, by
 * code that the emulator would have to translate anew first. Does nothing unless V8 runs with --expose-gc.
 */
function collectGarbage(): void {
  (globalThis as { gc?: (options: { type: "minor" }) => void }).gc?.({ type: "minor" });
}

function memoryBytes(root: string): Record<string, number> {
  const lines = readFileSync(`${root}/proc/meminfo`, "latin1").matchAll(/^(\w+):\s+(\d+) kB$/gm);
  return Object.fromEntries([...lines].map(([, name, kilobytes]) => [name, Number(kilobytes) * 1024]));
}

/**
 * The user's processes, as their control group counts them. Without one, as on a host in a test, all of the machine's:
 * the fourth field of /proc/loadavg is runnable/all.
 */
function processCount(root: string): number {
  try {
    return Number(readFileSync("/sys/fs/cgroup/user/pids.current", "latin1"));
  } catch {
    const fields = readFileSync(`${root}/proc/loadavg`, "latin1").split(" ");
    return Number(fields[3]?.split("/")[1] ?? 0);
  }
}
