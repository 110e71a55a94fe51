import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@dormouse/base";
import { createQemuVmm, probeAccelerator, type Vmm } from "@dormouse/compute";
import type { Artifacts } from "@dormouse/image";
import { createSlotPool, maxSlots, type Slot, type SlotPool } from "@dormouse/network";
import { WarmPool } from "./warm-pool.ts";

/** What machines are made of on this host: the VMM and the network slots. */
export interface Runtime {
  vmm: Vmm;
  slots: SlotPool;
  /** Slots in which a VMM waits already. */
  early: WarmPool<Slot>;
  /** Ends and removes what no one took over, of machines and of networks. */
  reclaim(known: { machineIds: readonly string[]; slotIndexes: readonly number[] }): Promise<void>;
  /** Closes; the slots named stay as they are, for the next daemon. */
  close(options?: { keep: readonly number[] }): Promise<void>;
}

export interface RuntimeOptions {
  /** May still be opening: slots need not wait for it. */
  vmm: Vmm | Promise<Vmm>;
  /** Names the namespaces; also keeps the users of two platforms' machines apart. */
  namePrefix: string;
  /** Where what is compiled is kept. */
  cacheDir: string;
  /** Address of a resolver; default: the host's. */
  resolver?: string | undefined;
  /** See `SlotPoolOptions` of network. */
  authoritySecret?: string;
  extraRoots?: readonly string[];
  slotsAhead: number;
  vmmsAhead: number;
  log: Logger;
}

/** Whoever has just taken one has work for the processor first. */
const refillDelayMs = 1_000;

/** The VMM that this host really runs, found out by booting once per boot of the host. */
export async function openVmm(options: {
  dataDir: string;
  cacheDir: string;
  artifacts: Pick<Artifacts, "kernel" | "initramfs">;
  signal?: AbortSignal;
}): Promise<Vmm> {
  const { dataDir, cacheDir, artifacts, signal } = options;
  const { accelerator, qemuVersion: version } = await probeAccelerator({ ...artifacts, cacheDir, signal });
  const drives = join(dataDir, "machines");
  await mkdir(drives, { recursive: true, mode: 0o711 });
  // Beside its own folder a VMM sees what was built and the drives; file modes keep it from its neighbours'.
  const machinesDir = join(dataDir, "vmm");
  return await createQemuVmm({ machinesDir, accelerator, version, folders: [cacheDir, drives], cacheDir });
}

/** Opens the slots beside a VMM, which is closed when that fails. Needs root. */
export async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { namePrefix, cacheDir, resolver, authoritySecret, extraRoots, slotsAhead, vmmsAhead, log } = options;
  const [vmm, slots] = await openBoth(
    options.vmm,
    createSlotPool({
      namePrefix,
      uidBase: uidBaseOf(namePrefix),
      size: slotsAhead,
      max: maxSlots,
      cacheDir,
      resolver,
      authoritySecret,
      extraRoots,
      logger: log,
    }),
  );
  const early = new WarmPool<Slot>({
    // The same native programs make both possible; without them a slot would be held for nothing.
    size: vmm.capabilities.liveSnapshot ? vmmsAhead : 0,
    refillDelayMs,
    log,
    async make(signal) {
      const slot = await slots.allocate({ signal });
      await vmm.startEarly(slot).catch(async (error: unknown) => {
        await slots.release(slot);
        throw error;
      });
      return slot;
    },
    async discard(slot) {
      await vmm.endEarly(slot);
      await slots.release(slot);
    },
  });
  return {
    vmm,
    slots,
    early,
    async reclaim({ machineIds, slotIndexes }) {
      const leftover = (await vmm.list()).filter((id) => !machineIds.includes(id));
      for (const id of leftover) {
        log.warn("machine of nobody is ended", { machineId: id });
        await vmm.reclaim(id);
      }
      await slots.reclaim(slotIndexes);
    },
    async close(options) {
      await early.close();
      await slots.close(options);
    },
  };
}

/** One that opened is closed when the other did not. */
async function openBoth(opening: Vmm | Promise<Vmm>, slotsOpening: Promise<SlotPool>): Promise<[Vmm, SlotPool]> {
  const [vmm, slots] = await Promise.allSettled([opening, slotsOpening]);
  if (vmm.status === "fulfilled" && slots.status === "fulfilled") return [vmm.value, slots.value];
  if (vmm.status === "fulfilled") await vmm.value.close();
  if (slots.status === "fulfilled") await slots.value.close();
  throw [vmm, slots].find((each) => each.status === "rejected")?.reason;
}

// Beyond what useradd, systemd and container engines give out by default.
const firstUid = 1_000_000_000;

/** Slot n's machine runs as this user plus n; each prefix has a range of its own. */
function uidBaseOf(namePrefix: string): number {
  let number = 0;
  for (const letter of namePrefix) number = (number * 31 + letter.charCodeAt(0)) % 60_000;
  return firstUid + number * maxSlots;
}
