import type { BlockSet } from "./block-set.ts";
import type { MachineIdentity, TemplateManifest } from "./manifest.ts";
import type { PartialFiles } from "./partial-file.ts";

/** What a VMM driver can do here, declared so that nobody has to ask what it is. */
export interface VmmCapabilities {
  vmm: "qemu";
  /** The VMM's version; a snapshot is loaded by exactly the version that made it. */
  version: string;
  accelerator: "kvm" | "tcg";
  /** `hardware`: a boundary between tenants. `emulation`: none that one should rely on. */
  isolation: "hardware" | "emulation";
  /** Whether a restored machine shares its template's memory until it writes. */
  copyOnWriteRestore: boolean;
  /** Whether a capture copies beside the running guest, which then stands still for milliseconds whatever it wrote. */
  liveSnapshot: boolean;
  /** Why not, for people; absent when it does. */
  liveSnapshotProblem?: string;
  /** Whether machines can start from files that are still being filled. */
  partialFiles: boolean;
  /** Why not, for people; absent when they can. */
  partialFilesProblem?: string;
  /** Whether memory, CPU and process limits are enforced by the kernel on this host. */
  resourceLimits: boolean;
  maxVcpus: number;
  /** Memory a machine needs on the host beside what its guest sees. */
  overheadMib: number;
}

/** What a guest sees of CPU and memory. */
export interface MachineResources {
  vcpus: number;
  memoryMib: number;
}

/** The network slot and the user a machine runs in; made by the network package. */
export interface MachineSlot {
  /** Name of the network namespace, as under /run/netns. */
  namespace: string;
  /** Tap device in it, owned by `uid`. */
  tap: string;
  /** User and group of the VMM process, the slot's own. */
  uid: number;
  gid: number;
}

/** The drives of a guest, absolute paths. */
export interface MachineDrives {
  /** `vda`, read-only. */
  system: string;
  /** `vdb`, read-only. */
  image: string;
  /** `vdc`, this machine's own: a raw file, given to the slot's user, or a stack of layers, which can be captured. */
  workspace: string | LayeredDrive;
}

/**
 * A drive as a stack: a raw file that machines share, and qcow2 layers on it, each holding what was written since the
 * one below was frozen. A machine gets a new, empty layer on top.
 */
export interface LayeredDrive {
  /** Raw, read-only, readable by every VMM's user. */
  base: string;
  /**
   * Holds the machine's layers and nothing else; made when missing, and given such a mode that only the slot's user
   * finds a file in it. The driver adds layers and removes those it has merged.
   */
  folder: string;
  /** Frozen layers in `folder` that the drive starts from, lowest first; none: as the base is. */
  layers: readonly string[];
  /** Nothing of the layers is in a capture that counts for this machine: its first one holds them too. */
  areUnsaved?: boolean;
}

/** Where a machine starts that was captured: what the caller has put together and compared with its hashes. */
export interface MachineState {
  /** Of {@link Capture.identity}. */
  identity: MachineIdentity;
  /**
   * File of the guest's whole memory, mapped copy-on-write, so that it must not change as long as the machine runs.
   * A file that all users may read stays as it is; any other becomes the slot's user's.
   */
  memory: string;
  /** Of {@link Capture.devices}. */
  devices: Uint8Array;
}

/** A machine that starts from its kernel. */
export interface BootSpec {
  /** Unique on the host; names the machine's folder. */
  id: string;
  resources: MachineResources;
  slot: MachineSlot;
  drives: MachineDrives;
  kernel: string;
  initramfs: string;
  /** Added to the kernel's command line, e.g. `dormouse.token=…`; not visible in the host's process list. */
  kernelParameters?: readonly string[];
}

/** How a boot is watched. */
export interface BootOptions {
  /** Whether the guest is up, asked again and again; rejections count as no. */
  isReady(signal: AbortSignal): Promise<boolean>;
  /** A boot attempt ends after this; default 120 s. */
  attemptTimeoutMs?: number;
  /** An attempt whose guest has said nothing on its console after this hangs; default 20 s. */
  firstSignTimeoutMs?: number;
  /** Attempts in all; default 3. */
  attempts?: number;
  /** Told of each attempt that failed, with what the guest's console said last. */
  onFailedAttempt?: (failure: { attempt: number; reason: string; console: string }) => void;
  signal?: AbortSignal;
}

/** What bootTemplate adds to a boot. */
export interface TemplateOptions extends BootOptions {
  /** Folder to create; holds memory, device state and manifest afterwards. */
  dir: string;
  /** Runs when the guest is ready and before it is stopped: warms it up. */
  warm?: (machine: Machine, signal: AbortSignal) => Promise<void>;
}

/** A machine that starts from a template or from a captured state, one of them. */
export interface RestoreSpec {
  id: string;
  slot: MachineSlot;
  /** The workspace drive must hold what it held at the moment that the machine starts from. */
  drives: MachineDrives;
  /** Folder that {@link Vmm.bootTemplate} filled; the workspace drive is the template's, as a base or a copy. */
  template?: string;
  /** What was captured, with the layers of that instant as workspace drive. */
  state?: MachineState;
  /** Whether the guest runs when restore resolves; default true. */
  resume?: boolean;
}

/** What a call may take. */
export interface CallOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** How a capture is taken. */
export interface CaptureOptions extends CallOptions {
  /** Existing folder for the file that pages are copied to; the file has no name there and ends with the capture. */
  folder: string;
  /** Whether the guest goes on afterwards; default true. A machine that was paused stays paused. */
  resume?: boolean;
  /** Take all memory that differs from what the machine started from; for a fork, or to begin a lineage anew. */
  complete?: boolean;
  /**
   * Runs when all is copied that can be beside the running guest, right before it is stopped: the place to let the
   * guest's processes stand still, with few words: what these write to the guest's memory is copied while it is stopped. A
   * failure ends the capture.
   */
  beforeStop?: (signal: AbortSignal) => Promise<void>;
  /** Runs as soon as the guest goes on, also when the capture failed. Not called when it stays stopped. */
  afterResume?: () => Promise<void>;
}

/** Content in blocks of 64 KiB; the last one may be shorter. */
export interface BlockReader {
  /** Size of the whole memory or drive. */
  readonly bytes: number;
  /** Numbers of the blocks that changed, ascending. */
  readonly blocks: Uint32Array;
  /** Fills `target` with the beginning of one of `blocks`; of others the content is undefined. */
  read(block: number, target: Buffer): Promise<void>;
}

/**
 * Memory, devices and drive of a machine at one instant. To be disposed of; then nothing of it can be read, and what was
 * not confirmed is in the next capture again.
 */
export interface Capture extends AsyncDisposable {
  /** How long the guest stood still; 0 when it did before or was not resumed. */
  readonly pauseMs: number;
  /** From the call until everything could be read. */
  readonly totalMs: number;
  /** How often the guest's memory was gone through beside the running guest; 0: all was copied while it stood still. */
  readonly rounds: number;
  /** How much memory was copied, which is more than was kept when the guest wrote pages again meanwhile. */
  readonly copiedBytes: number;
  /** How much of it while the guest stood still. */
  readonly copiedStoppedBytes: number;
  /** What must be the same where it is restored. */
  readonly identity: MachineIdentity;
  readonly devices: Buffer;
  /**
   * What changed since the last confirmed capture. With `isComplete` it is all that differs from what the machine started
   * from, and may be put on either.
   */
  readonly memory: BlockReader & { readonly isComplete: boolean };
  /** What changed since the last confirmed capture, or since the machine started from its layers. */
  readonly disk: BlockReader;
  /** The frozen layers that are the drive of this instant, lowest first; fewer once they were merged. */
  readonly layers: readonly string[];
  /**
   * It is durable now: the next capture holds what changes after this one. When no other capture is open, frozen layers
   * are merged as far as nobody else uses them: a layer whose file is gone has become part of the one below.
   * @throws DormouseError when merging failed; what was confirmed stays so, and merging is done with the next one.
   */
  confirm(options?: CallOptions): Promise<void>;
  /**
   * Puts hard links to the layers into a folder on the same file system, which is made when missing: the drive of a fork.
   * From then on nobody may write to them. Only before the capture is disposed of.
   * @returns the links, for {@link LayeredDrive.layers}; on failure none is left.
   */
  linkLayers(folder: string): Promise<string[]>;
}

export type MachineStatus = "running" | "paused" | "exited";

/** Why a machine is gone. */
export interface MachineExit {
  reason: "requested" | "guest_shutdown" | "guest_reboot" | "guest_panic" | "out_of_memory" | "killed" | "failed";
  /** One line for people. */
  message: string;
}

/** What the host's kernel accounts to a machine. */
export interface MachineUsage {
  cpuMs: number;
  memoryMib: number;
}

/** A VMM process with its guest. */
export interface Machine {
  readonly id: string;
  readonly pid: number;
  readonly resources: MachineResources;
  readonly slot: MachineSlot;
  /** How many boots it took; 0 for a restored machine. */
  readonly bootAttempts: number;
  /** Resolves, never rejects, once the VMM process is gone for whatever reason. */
  readonly exited: Promise<MachineExit>;
  /** Calls back once, also when the machine is gone already; returns a function that unregisters. */
  onExit(listener: (exit: MachineExit) => void): () => void;
  status(options?: CallOptions): Promise<MachineStatus>;
  pause(options?: CallOptions): Promise<void>;
  resume(options?: CallOptions): Promise<void>;
  /**
   * Takes memory, devices and drive of one instant while the guest runs; it stands still for a few milliseconds. Captures
   * of one machine are taken one after the other, and several may be open; each holds all that no earlier one confirmed.
   * @throws DormouseError `failed_precondition` when the workspace drive has no layers or too many captures are open,
   *   `resource_exhausted` when `folder` is full. The guest goes on as before then, and nothing that it wrote is lost to
   *   the next capture.
   */
  capture(options: CaptureOptions): Promise<Capture>;
  /** The workspace drive's layers as they are now, lowest first; the last is being written to. None: it is a raw file. */
  layers(): readonly string[];
  /** Blocks of its memory that it has touched since it started: what it needs first when it starts from there again. */
  touched(): Promise<BlockSet>;
  /** The end of what the guest wrote to its console, at most 64 KiB. */
  console(): Promise<string>;
  usage(): Promise<MachineUsage>;
  /** Ends the VMM and removes all it had on the host but its drives. May be called at any time, any number of times. */
  kill(): Promise<void>;
  /** Lets go without ending it: another process can adopt the machine. */
  release(): void;
}

/** A virtual machine monitor on this host. */
export interface Vmm {
  readonly capabilities: VmmCapabilities;
  /** Lets machines start from files that are still being filled; absent where that is not possible. */
  readonly partialFiles?: PartialFiles;
  /**
   * Boots a guest from its kernel and resolves when it is ready. A boot that hangs is
   * killed and done again.
   * @throws DormouseError `deadline_exceeded` or `unavailable` when no attempt succeeded; nothing stays behind.
   */
  boot(spec: BootSpec, options: BootOptions): Promise<Machine>;
  /** Boots a guest, warms it, and leaves it as a template in `options.dir`; the workspace drive belongs to it. */
  bootTemplate(spec: BootSpec, options: TemplateOptions): Promise<TemplateManifest>;
  /**
   * Starts a guest where a template stopped or a capture was taken.
   * @throws DormouseError `failed_precondition` naming what does not fit this host, `data_loss` when a file is not what
   *   the template's manifest says or the device state is refused; nothing stays behind.
   */
  restore(spec: RestoreSpec, options?: CallOptions): Promise<Machine>;
  /**
   * Takes over a machine whose host process ended.
   * @throws DormouseError `not_found` when it no longer runs: reclaim it then.
   */
  adopt(id: string, options?: CallOptions): Promise<Machine>;
  /**
   * Starts a VMM process in a slot ahead of need, as far as it gets without a machine: one that is started in this slot
   * later takes it over and is there the sooner. It ends with this process. Does nothing where that is not possible.
   */
  startEarly(slot: MachineSlot): Promise<void>;
  /** Ends what {@link Vmm.startEarly} started in a slot and no machine has taken over. */
  endEarly(slot: MachineSlot): Promise<void>;
  /** Ids of all machines that have left something on this host, running or not. */
  list(): Promise<string[]>;
  /** Ends and removes whatever is left of a machine, known to this process or not. */
  reclaim(id: string): Promise<void>;
  /** Gives back what it holds on the host beside its machines, which run on. */
  close(): Promise<void>;
}
