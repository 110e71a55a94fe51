import { DormouseError } from "@dormouse/base";
import type { MachineResources } from "./vmm.ts";

/** What a host has to give away. */
export interface LaneCapacity {
  cores: number;
  /**
   * vCPU lanes per core. Development machines are idle most of the time and their
   * control groups share a busy core fairly, so more than one fits; default 4.
   */
  vcpusPerCore?: number;
  /** Memory for machines, the VMM's own included. */
  memoryMib: number;
  /**
   * How much of it is promised, as a multiple; default 1: what is promised is there. Forks share what they have not
   * written and most machines leave most of theirs untouched, so more than one fits; when all of them want it, the kernel
   * ends one.
   */
  memoryOvercommit?: number;
  /** What a machine needs beside its guest's memory, see `VmmCapabilities.overheadMib`. */
  overheadMib: number;
}

/** A reservation. A paused machine keeps its memory but not its vCPUs. */
export interface Lane {
  readonly resources: MachineResources;
  readonly isRunning: boolean;
  /**
   * Takes the vCPUs back before the machine runs again.
   * @throws DormouseError `resource_exhausted` when others have them; the lane stays paused.
   */
  run(): void;
  /** Gives the vCPUs away; the machine must be paused already. */
  pause(): void;
  /** Gives everything back; further calls do nothing. */
  release(): void;
}

/** The reservations of one host. */
export interface Lanes {
  /**
   * Reserves before anything is started.
   * @throws DormouseError `resource_exhausted` naming what was asked and what is free,
   *   `invalid_argument` below 1 vCPU or 1 GiB.
   */
  reserve(resources: MachineResources, options?: { paused?: boolean }): Lane;
  /** What is in all, and what is free now. */
  facts(): { vcpus: { total: number; free: number }; memoryMib: { total: number; free: number } };
}

const defaultVcpusPerCore = 4;
const minMemoryMib = 1024;

/** Counts vCPUs and memory of a host so that no machine starves another. */
export function createLanes(capacity: LaneCapacity): Lanes {
  const total = {
    vcpus: Math.max(1, Math.floor(capacity.cores * (capacity.vcpusPerCore ?? defaultVcpusPerCore))),
    memoryMib: Math.floor(capacity.memoryMib * (capacity.memoryOvercommit ?? 1)),
  };
  const used = { vcpus: 0, memoryMib: 0 };

  const take = (vcpus: number, memoryMib: number) => {
    const free = { vcpus: total.vcpus - used.vcpus, memoryMib: total.memoryMib - used.memoryMib };
    if (vcpus > free.vcpus || memoryMib > free.memoryMib) {
      const asked = [
        vcpus > 0 ? `${vcpus} vCPU` : "",
        memoryMib > 0 ? `${memoryMib} MiB of memory (overhead included)` : "",
      ].filter(Boolean);
      throw new DormouseError(
        "resource_exhausted",
        `a machine asks for ${asked.join(" and ")}; free on this host: ${free.vcpus} of ${total.vcpus} vCPU, ${free.memoryMib} of ${total.memoryMib} MiB`,
        { details: { asked: { vcpus, memoryMib }, free, total } },
      );
    }
    used.vcpus += vcpus;
    used.memoryMib += memoryMib;
  };

  return {
    reserve(resources, options = {}) {
      const { vcpus, memoryMib } = resources;
      if (!Number.isInteger(vcpus) || vcpus < 1) {
        throw new DormouseError("invalid_argument", `vcpus is ${vcpus}; a machine has a whole number from 1`);
      }
      if (!Number.isInteger(memoryMib) || memoryMib < minMemoryMib) {
        throw new DormouseError(
          "invalid_argument",
          `memoryMib is ${memoryMib}; a machine has at least ${minMemoryMib}`,
        );
      }
      const laneMemoryMib = memoryMib + capacity.overheadMib;
      let isRunning = !options.paused;
      let isReleased = false;
      take(isRunning ? vcpus : 0, laneMemoryMib);
      return {
        resources,
        get isRunning() {
          return isRunning;
        },
        run() {
          if (isRunning || isReleased) return;
          take(vcpus, 0);
          isRunning = true;
        },
        pause() {
          if (!isRunning || isReleased) return;
          used.vcpus -= vcpus;
          isRunning = false;
        },
        release() {
          if (isReleased) return;
          isReleased = true;
          used.memoryMib -= laneMemoryMib;
          if (isRunning) used.vcpus -= vcpus;
        },
      };
    },
    facts: () => ({
      vcpus: { total: total.vcpus, free: total.vcpus - used.vcpus },
      memoryMib: { total: total.memoryMib, free: total.memoryMib - used.memoryMib },
    }),
  };
}
