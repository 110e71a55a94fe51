import type { MachineInfo } from "@dormouse/contract";

/** What hosts said last of workspaces' machines: facts that change too often, and matter too little, for the database. */
export interface Sightings {
  /** Takes a host's word; what it no longer speaks of is forgotten. */
  update(machines: readonly MachineInfo[]): void;
  see(machine: MachineInfo): void;
  of(workspaceId: string): MachineInfo | undefined;
  /** Whether a host has been asked since the start; before that nothing is known of anything. */
  readonly isFilled: boolean;
}

/** Empty until a host was asked, at most a sweep of the reconciler after a start. */
export function createSightings(): Sightings {
  let seen = new Map<string, MachineInfo>();
  let isFilled = false;
  return {
    get isFilled() {
      return isFilled;
    },
    update(machines) {
      isFilled = true;
      seen = new Map(machines.map((machine) => [machine.workspaceId, machine]));
    },
    see: (machine) => void seen.set(machine.workspaceId, machine),
    of: (workspaceId) => seen.get(workspaceId),
  };
}
