import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DormouseError } from "@dormouse/base";
import type { Cgroup } from "../cgroup.ts";
import type { FileView } from "../file-view.ts";
import { spawned, spawnJailed } from "../jail.ts";
import type { NativeTools } from "../native.ts";
import { identifyProcess, isAlive, killProcess, type ProcessIdentity, tryPriority, waitForEnd } from "../process.ts";
import type { MachineSlot } from "../vmm.ts";

/** What a VMM process gets when it is known which machine it will be. */
export interface VmmLife {
  cgroup: Cgroup;
  logFile: string;
  environment: Readonly<Record<string, string>> | undefined;
  qemuArgs: readonly string[];
}

export interface EarlyProcessesOptions {
  /** Holds a folder for each process that has VMMs wait, with their output. */
  root: string;
  binary: string;
  tools: NativeTools;
  fileView?: FileView | undefined;
  groups: readonly number[];
}

interface EarlyProcess {
  process: ProcessIdentity;
  logFile: string;
  /** Hands over what comes on standard input, and closes it. */
  write(message: Buffer): void;
}

const endTimeoutMs = 5_000;
const waitingNice = 10;

/**
 * VMM processes that were started in their slots before anybody knew which machine they will be: in the jail, linked, and
 * waiting for their arguments, see `native/late-arguments.c`. They end with this process.
 */
export class EarlyProcesses {
  readonly #options: EarlyProcessesOptions;
  readonly #folder: string;
  readonly #bySlot = new Map<string, EarlyProcess>();

  private constructor(options: EarlyProcessesOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
  }

  /** Removes what processes left that are gone. */
  static async open(options: EarlyProcessesOptions): Promise<EarlyProcesses> {
    const { root } = options;
    await mkdir(root, { recursive: true, mode: 0o700 });
    for (const name of await readdir(root)) {
      if (!identifyProcess(Number.parseInt(name, 10))) await rm(join(root, name), { recursive: true, force: true });
    }
    return new EarlyProcesses(options, await mkdtemp(join(root, `${process.pid}-`)));
  }

  /** Starts one in a slot that has none. It may still be on its way when this resolves; whoever takes it waits then. */
  async start(slot: MachineSlot): Promise<void> {
    const { root, binary, tools, fileView, groups } = this.#options;
    if (this.#bySlot.has(slot.namespace)) return;
    const logFile = join(this.#folder, randomBytes(8).toString("hex"));
    const child = spawnJailed(
      {
        slot,
        fileView: fileView?.path,
        groups,
        environment: { LD_PRELOAD: `${tools.trackWrites}:${tools.lateArguments}` },
        logFile,
        hasInput: true,
      },
      // What it is called with is only for those who look at the process list.
      [binary, `--waiting-for-a-machine-in=${root}`],
    );
    const waiting = identifyProcess(await spawned(child));
    const { stdin } = child;
    if (!waiting || !stdin) {
      await rm(logFile, { force: true });
      throw new DormouseError("unavailable", "a VMM that was started ahead ended at once");
    }
    // Whoever waits for something now goes first.
    tryPriority(waiting.pid, waitingNice);
    // One that ends is found out when it is wanted.
    stdin.on("error", () => {});
    if ("unref" in stdin && typeof stdin.unref === "function") stdin.unref();
    this.#bySlot.set(slot.namespace, { process: waiting, logFile, write: (message) => stdin.end(message) });
  }

  /** Makes the one in a slot a machine's VMM. Undefined when there is none that lives. */
  async become(slot: MachineSlot, life: VmmLife): Promise<ProcessIdentity | undefined> {
    const early = this.#take(slot);
    if (!early) return undefined;
    try {
      await rename(early.logFile, life.logFile);
      for (const path of life.cgroup.procsFiles) await writeFile(path, String(early.process.pid));
      tryPriority(early.process.pid, 0);
      early.write(message(life));
      if (isAlive(early.process)) return early.process;
    } catch {
      // It died while it waited: one that is started now has what it needs.
      killProcess(early.process);
      await waitForEnd(early.process, endTimeoutMs);
    }
    await rm(early.logFile, { force: true });
    return undefined;
  }

  /** Ends the one in a slot, if there is one. */
  async end(slot: Pick<MachineSlot, "namespace">): Promise<void> {
    const early = this.#take(slot);
    if (!early) return;
    killProcess(early.process);
    await waitForEnd(early.process, endTimeoutMs);
    await rm(early.logFile, { force: true });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#bySlot.keys()].map((namespace) => this.end({ namespace })));
    await rm(this.#folder, { recursive: true, force: true });
  }

  #take({ namespace }: Pick<MachineSlot, "namespace">): EarlyProcess | undefined {
    const early = this.#bySlot.get(namespace);
    this.#bySlot.delete(namespace);
    return early;
  }
}

/** As `native/late-arguments.c` reads it. */
function message({ environment, qemuArgs }: VmmLife): Buffer {
  const variables = Object.entries(environment ?? {}).map(([name, value]) => `${name}=${value}`);
  const body = Buffer.from([...variables, "", ...qemuArgs].map((text) => `${text}\0`).join(""));
  return Buffer.concat([Buffer.from(body.length.toString(16).padStart(8, "0")), body]);
}
