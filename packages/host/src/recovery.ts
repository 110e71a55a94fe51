import { DormouseError, type Logger } from "@dormouse/base";
import { Activity } from "./activity.ts";
import type { GuestLink } from "./guest-link.ts";
import type { LiveMachine, MachineStarter } from "./live-machine.ts";
import { addressOf, type Machine } from "./machine.ts";
import type { MachineRecord, MachineStore } from "./machine-record.ts";
import type { Machines } from "./machines.ts";
import type { Minder } from "./minder.ts";
import type { Moments } from "./moments.ts";

/** What {@link recoverMachines} works with. */
export interface RecoveryOptions {
  machines: Machines;
  store: MachineStore;
  starter: Pick<MachineStarter, "adopt">;
  guest: GuestLink;
  moments: Moments;
  minder: Minder;
  log: Logger;
}

/** Takes over what an earlier daemon left and ends what it left half-made. */
export async function recoverMachines(options: RecoveryOptions): Promise<void> {
  const records = await options.store.load(options.log);
  await Promise.all(records.map((record) => recover(record, options)));
}

async function recover(record: MachineRecord, options: RecoveryOptions): Promise<void> {
  const { machines, minder, starter, log } = options;
  const machine: Machine = { record, timingsMs: {}, triedMs: 0 };
  try {
    const settled = record.state === "hibernated" || record.state === "dead";
    machine.live = settled ? undefined : await starter.adopt(record);
    if (record.workspaceId === null || record.state === "starting") return await machines.end(machine);
    machines.add(record.workspaceId, machine);
    if (settled) return;
    if (machine.live) return await adopt(machine, machine.live, options);
    if (record.start) return await machines.change(machine, { state: "hibernated", slot: null });
    await minder.giveUp(machine, `its process ended while it was ${record.state} and no host daemon ran`);
  } catch (error) {
    log.error("machine could not be taken over", { machineId: record.machineId, error });
    const reason = `could not be taken over: ${DormouseError.from(error).message}`;
    if (record.workspaceId) await minder.giveUp(machine, reason).catch(machines.logFailure(machine));
  }
}

/** A machine runs on from the last daemon; what that one was about to do with it is undone. */
async function adopt(machine: Machine, live: LiveMachine, options: RecoveryOptions): Promise<void> {
  const { guest, machines, minder, moments, log } = options;
  const { record } = machine;
  if (record.state === "waking") throw new DormouseError("aborted", "its wake was interrupted");
  // Its sleep is whole: it was about to be ended.
  if (record.state === "hibernating" && record.start) {
    await live.kill();
    machine.live = undefined;
    return await machines.change(machine, { state: "hibernated", slot: null });
  }
  machine.activity = new Activity(Date.now());
  await moments.resume(record);
  // Whatever its daemon was doing with it when it died: a sleep or a snapshot may have left it standing still.
  await live.resume();
  const thaw = () => guest.thaw(addressOf(machine));
  const { workspaceId } = record;
  if (record.state === "running" && workspaceId) {
    // Only the next change waits for one that takes its time to answer, and it is not given up for that.
    void machines.inTurn(workspaceId, thaw).catch((error: unknown) => {
      log.warn("an adopted machine does not answer yet", { workspaceId, error });
    });
  } else await thaw();
  if (record.state === "hibernating") await machines.change(machine, { state: "running" });
  minder.mind(machine, live);
  log.info("machine adopted", { workspaceId: record.workspaceId, pid: live.pid });
}
