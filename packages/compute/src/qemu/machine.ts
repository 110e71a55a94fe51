import { readFile, rm, stat, truncate } from "node:fs/promises";
import { DormouseError, sleep, withTimeout } from "@dormouse/base";
import type { BlockSet } from "../block-set.ts";
import type { Cgroup } from "../cgroup.ts";
import { findGuestMemory, readTouchedBlocks } from "../guest-memory.ts";
import type { NativeTools } from "../native.ts";
import { killProcess, type ProcessIdentity, waitForEnd } from "../process.ts";
import type {
  CallOptions,
  Capture,
  CaptureOptions,
  Machine,
  MachineExit,
  MachineStatus,
  MachineUsage,
} from "../vmm.ts";
import { QemuCaptures } from "./captures.ts";
import { consoleBytes } from "./command-line.ts";
import { QemuDrive, removeSpare, removeTop } from "./drive.ts";
import { exitOf, type ShutdownEvent } from "./exit.ts";
import type { Qmp } from "./qmp.ts";
import { type MachinePaths, type MachineRecord, writeRecord } from "./record.ts";

const captureTimeoutMs = 120_000;
/** Long enough for a job of the VMM to be cancelled. */
const adoptTimeoutMs = 60_000;
/** A VMM that was told to end and does not is killed after this. */
const endTimeoutMs = 5_000;
/** The VMM's own output is for its last words; what is longer is forgotten. */
const maxLogBytes = 1024 * 1024;
const logCheckMs = 30_000;

/** What a {@link QemuMachine} consists of. */
export interface QemuMachineParts {
  record: MachineRecord;
  process: ProcessIdentity;
  paths: MachinePaths;
  cgroup: Cgroup;
  qmp: Qmp;
  tools?: NativeTools;
}

/** A QEMU process with its guest. */
export class QemuMachine implements Machine {
  readonly exited: Promise<MachineExit>;
  readonly #parts: QemuMachineParts;
  /** Of a machine whose workspace drive has layers. */
  readonly #drive: QemuDrive | undefined;
  readonly #captures: QemuCaptures | undefined;
  readonly #logTimer: NodeJS.Timeout;
  #conclude: (exit: MachineExit) => void = () => {};
  #exit: MachineExit | undefined;
  #isReleased = false;
  #isKillRequested = false;
  #shutdown: ShutdownEvent | undefined;
  #console = Buffer.alloc(0);
  #removal: Promise<void> | undefined;
  /** Operations that change whether the guest runs follow one another. */
  #queue: Promise<unknown> = Promise.resolve();
  /** So do writes of the record. */
  #recordWrites: Promise<void> = Promise.resolve();

  constructor(parts: QemuMachineParts) {
    this.#parts = parts;
    this.exited = new Promise((resolve) => {
      this.#conclude = resolve;
    });
    parts.qmp.on("event", (event) => {
      if (event.event === "SHUTDOWN") void this.#ended(event.data);
    });
    parts.qmp.once("close", () => void this.#gone());
    if (parts.qmp.isClosed) void this.#gone();
    const { qmp, record } = parts;
    if (record.drive) {
      const save = (drive: MachineRecord["drive"]) => this.#saveRecord({ drive });
      this.#drive = new QemuDrive({ record: record.drive, qmp, slot: record.slot, save });
      this.#captures = new QemuCaptures({ ...parts, drive: this.#drive, goOn: () => this.#continue() });
    }
    this.#logTimer = setInterval(() => void boundLog(parts.paths.log), logCheckMs).unref();
  }

  get id() {
    return this.#parts.record.id;
  }
  get pid() {
    return this.#parts.process.pid;
  }
  get resources() {
    return this.#parts.record.identity.resources;
  }
  get slot() {
    return this.#parts.record.slot;
  }
  get bootAttempts() {
    return this.#parts.record.bootAttempts;
  }

  async touched(): Promise<BlockSet> {
    const { process, record } = this.#parts;
    const bytes = this.resources.memoryMib * 1024 ** 2;
    return await readTouchedBlocks(process.pid, await findGuestMemory(process.pid, record.memory.file, bytes), bytes);
  }

  onExit(listener: (exit: MachineExit) => void): () => void {
    let isWanted = true;
    void this.exited.then((exit) => {
      if (isWanted) listener(exit);
    });
    return () => {
      isWanted = false;
    };
  }

  async status(options?: CallOptions): Promise<MachineStatus> {
    if (this.#exit || this.#shutdown) return "exited";
    try {
      const { status, running } = await this.#parts.qmp.execute("query-status", undefined, options);
      if (status === "shutdown") return "exited";
      return running ? "running" : "paused";
    } catch (error) {
      if (DormouseError.from(error).code === "unavailable") return "exited";
      throw error;
    }
  }

  pause(options?: CallOptions): Promise<void> {
    return this.#inTurn(async () => {
      await this.#parts.qmp.execute("stop", undefined, options);
    });
  }

  resume(options?: CallOptions): Promise<void> {
    return this.#inTurn(() => this.#continue(options));
  }

  capture(options: CaptureOptions): Promise<Capture> {
    const captures = this.#captures;
    if (!captures) {
      const message = `the workspace drive of machine ${this.id} is a raw file; only one of layers can be captured`;
      return Promise.reject(new DormouseError("failed_precondition", message));
    }
    const timeoutMs = options.timeoutMs ?? captureTimeoutMs;
    const work = (signal: AbortSignal) => captures.take(options, signal);
    // The queue waits for the work itself, also when its time is over, so that nothing overlaps.
    return this.#inTurn(() => settleWithTimeout(`the capture of machine ${this.id}`, timeoutMs, work, options.signal));
  }

  layers(): readonly string[] {
    return this.#drive?.layers ?? [];
  }

  async console(): Promise<string> {
    if (!this.#exit) {
      // Gone in the meantime: what was read before is all there is.
      await this.#readConsole().catch(() => {});
    }
    return this.#console.toString();
  }

  async usage(): Promise<MachineUsage> {
    return this.#parts.cgroup.usage();
  }

  kill(): Promise<void> {
    this.#isKillRequested = true;
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  release(): void {
    this.#isReleased = true;
    clearInterval(this.#logTimer);
    this.#parts.qmp.close();
  }

  /**
   * Stops the guest and saves what is not memory to the run folder, as a template
   * needs it; the memory lies in its shared file already.
   */
  saveDevices(options?: CallOptions): Promise<void> {
    return this.#inTurn(async () => {
      await this.#parts.qmp.execute("stop", undefined, options);
      await this.#parts.qmp.execute(
        "xen-save-devices-state",
        { filename: this.#parts.paths.devices, live: true },
        options,
      );
    });
  }

  /**
   * Loads the device state that lies in the run folder; the guest stands still afterwards.
   * @throws DormouseError `data_loss` when QEMU does not accept it.
   */
  async loadDevices(options: CallOptions = {}): Promise<void> {
    const { qmp, paths } = this.#parts;
    const capabilities = [{ capability: "events", state: true } as const];
    await qmp.execute("migrate-set-capabilities", { capabilities }, options);
    const loaded = new Promise<void>((resolve, reject) => {
      qmp.on("event", (event) => {
        if (event.event !== "MIGRATION") return;
        if (event.data.status === "completed") resolve();
        if (event.data.status === "failed") reject(new DormouseError("data_loss", "the VMM refused the device state"));
      });
      qmp.once("close", () => reject(new DormouseError("data_loss", "the VMM ended while it loaded the device state")));
    });
    // Awaited below; a failure of the command itself must not leave this one unheard.
    loaded.catch(() => {});
    await qmp.execute("migrate-incoming", { uri: `file:${paths.devices}` }, options);
    await withTimeout("loading device state", options.timeoutMs ?? 30_000, () => loaded, options.signal);
    await rm(paths.devices, { force: true });
  }

  /** The guest is up: from now on another process may adopt the machine. */
  markReady(): Promise<void> {
    return this.#saveRecord({ phase: "ready" });
  }

  /** Brings the record up to what the VMM does, after another process had the machine. */
  async adopted(options: CallOptions = {}): Promise<void> {
    const catchUp = async (signal: AbortSignal) => {
      await this.#drive?.adopt(signal);
      if (!this.#parts.record.drive?.isToGoOn) return;
      await this.#continue({ signal });
      await this.#drive?.save();
    };
    await withTimeout(`adopting machine ${this.id}`, options.timeoutMs ?? adoptTimeoutMs, catchUp, options.signal);
  }

  /** Ends a machine that never came up, with all it wrote to its drive. */
  async abandon(): Promise<void> {
    await this.kill();
    await removeTop(this.#parts.record.drive);
  }

  /** Ends the VMM in order, so that all it had in its buffers reaches its files. */
  async quit(): Promise<void> {
    this.#isKillRequested = true;
    // The answer may be lost with the process; that it ends is what counts.
    await this.#parts.qmp.execute("quit").catch(() => {});
    await waitForEnd(this.#parts.process, endTimeoutMs);
    await this.kill();
  }

  async #continue(options: CallOptions = {}): Promise<void> {
    // Right after a migration QEMU may still be putting it away; it says so, and is asked again.
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#parts.qmp.execute("cont", undefined, options);
        return;
      } catch (error) {
        if (attempt === 100 || !/not finalized yet/.test(DormouseError.from(error).message)) throw error;
        await sleep(2, options.signal);
      }
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work, work);
    this.#queue = turn.catch(() => {
      // Whoever asked for it hears of it; the next in turn is not concerned.
    });
    return turn;
  }

  async #readConsole(): Promise<void> {
    const request = { device: "console", size: consoleBytes, format: "base64" } as const;
    const text = await this.#parts.qmp.execute("ringbuf-read", request, { timeoutMs: 2000 });
    const joined = Buffer.concat([this.#console, Buffer.from(text, "base64")]);
    this.#console = joined.subarray(Math.max(0, joined.length - consoleBytes));
  }

  /** The guest has ended itself. QEMU stands still until its console has been read. */
  async #ended(event: ShutdownEvent): Promise<void> {
    this.#shutdown ??= event;
    try {
      await this.#readConsole();
      await this.#parts.qmp.execute("quit", undefined, { timeoutMs: 2000 });
    } catch {
      // It is going away faster than it can be asked, which is what was wanted.
    }
  }

  /** The control socket is closed: the VMM ended, or it is of no use any more. */
  async #gone(): Promise<void> {
    if (this.#isReleased || this.#exit) return;
    const { process, cgroup, paths } = this.#parts;
    clearInterval(this.#logTimer);
    if (!(await waitForEnd(process, endTimeoutMs))) {
      killProcess(process);
      await waitForEnd(process, endTimeoutMs);
    }
    const log = await readFile(paths.log, "utf8").catch(() => "");
    const outOfMemoryKills = await cgroup.outOfMemoryKills().catch(() => 0);
    this.#exit = exitOf({
      isRequested: this.#isKillRequested,
      shutdown: this.#shutdown,
      outOfMemoryKills,
      log,
      console: this.#console.toString(),
    });
    this.#conclude(this.#exit);
  }

  async #remove(): Promise<void> {
    const { process, qmp, cgroup, paths } = this.#parts;
    killProcess(process);
    await waitForEnd(process, endTimeoutMs);
    qmp.close();
    if (!this.#isReleased) await this.exited;
    await cgroup.remove();
    await removeSpare(this.#parts.record.drive);
    await rm(paths.folder, { recursive: true, force: true });
  }

  #saveRecord(change: Partial<MachineRecord>): Promise<void> {
    this.#parts.record = { ...this.#parts.record, ...change };
    // What is written is what holds when its turn comes; the folder is gone once the machine is removed.
    const write = async () => {
      if (!this.#removal) await writeRecord(this.#parts.paths.record, this.#parts.record);
    };
    const turn = this.#recordWrites.then(write);
    this.#recordWrites = turn.catch(() => {});
    return turn;
  }
}

async function settleWithTimeout<T>(
  what: string,
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let running: Promise<T> | undefined;
  const start = (own: AbortSignal) => {
    running = work(own);
    return running;
  };
  try {
    return await withTimeout(what, timeoutMs, start, signal);
  } finally {
    // Its error was thrown above, or the time-out's was.
    await running?.catch(() => {});
  }
}

async function boundLog(path: string): Promise<void> {
  const facts = await stat(path).catch(() => undefined);
  // The VMM appends, so it goes on at the new end.
  if (facts && facts.size > maxLogBytes) await truncate(path, 0).catch(() => {});
}
