import type { BlockSet, Capture, CaptureOptions } from "@dormouse/compute";
import type { EgressPolicy } from "@dormouse/contract";
import type { AuthorityCertificate, MachineSecrets } from "@dormouse/network";
import type { GuestConnections } from "./guest-address.ts";
import type { MachineRecord } from "./machine-record.ts";

/** A machine that has a process: running or paused. */
export interface LiveMachine {
  /** How the host reaches the guest; ends with the process. */
  readonly guest: GuestConnections;
  readonly pid: number;
  readonly slotIndex: number;
  readonly isolation: "hardware" | "emulation";
  pause(): Promise<void>;
  /** What may leave it from now on; see `EgressEngine.setPolicy` of network. */
  setEgress(policy: EgressPolicy): Promise<void>;
  /** Its secrets from now on; see `EgressEngine.setSecrets` of network. */
  setSecrets(secrets: MachineSecrets): Promise<void>;
  /** What it has to trust for these hosts. */
  authority(organisation: string, hosts: readonly string[]): AuthorityCertificate;
  resume(): Promise<void>;
  /** Memory, devices and drive of one instant, see `Machine.capture` of compute. */
  capture(options: Omit<CaptureOptions, "folder">): Promise<Capture>;
  /** Blocks of its memory that it has touched since it started. */
  touched(): Promise<BlockSet>;
  /** Processor time used so far, in milliseconds. */
  cpuMs(): Promise<number>;
  /** Ends the process; slot and lane are given back. */
  kill(): Promise<void>;
  console(): Promise<string>;
  /** Settles once, with the reason, when the process ends without having been asked to. */
  readonly died: Promise<string>;
}

/** How machines come to life on this host. Each leaves nothing behind when it fails. */
export interface MachineStarter {
  /** Restores the template the record names, with a fresh drive. The machine runs; nobody has identified it yet. */
  restoreTemplate(record: MachineRecord): Promise<LiveMachine>;
  /** Restores the moment that lies in the machine's folder as the record's `start`. The machine stands still. */
  restoreMoment(record: MachineRecord): Promise<LiveMachine>;
  /** Boots from the drives alone; makes the workspace's drive when there is none yet. Resolves when the agent answers. */
  boot(record: MachineRecord): Promise<LiveMachine>;
  /** Takes over the process an earlier daemon left; undefined when there is none any more. */
  adopt(record: MachineRecord): Promise<LiveMachine | undefined>;
}
