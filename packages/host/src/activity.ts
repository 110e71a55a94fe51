import type { GuestActivity } from "@dormouse/contract";

/** What a machine's use is told from, beside what passes through the host. */
export interface ActivitySource {
  activity(): Promise<GuestActivity>;
  /** Processor time used so far. */
  cpuMs(): Promise<number>;
}

/** Whether a machine is used, and by what. */
export interface Use {
  activeMs: number;
  /** In words; null: nothing uses it now. */
  keptAwakeBy: string | null;
}

/** A terminal that wrote within this time is in use. */
const terminalQuietMs = 60_000;
/** More of a core than this, over a look's interval, is work and no ticking. */
const busyShare = 0.5;
/** More would not be read. */
const namedConnections = 3;

/**
 * Follows the use of one machine. Rules: an open connection (an editor, a followed process, one to a port) keeps it awake, and so do a
 * command that runs, a terminal that wrote within the last minute, and processes that took half a core since the last
 * look. Every request counts as use at its moment.
 */
export class Activity {
  #activeMs: number;
  /** How many there are of each kind. */
  readonly #connections = new Map<string, number>();
  #keptAwakeBy: string | null = null;
  #cpu: { usedMs: number; atMs: number } | undefined;

  constructor(nowMs: number) {
    this.#activeMs = nowMs;
  }

  /** A request passed. */
  touch(nowMs: number): void {
    this.#activeMs = Math.max(this.#activeMs, nowMs);
  }

  /** A connection was opened, to `what` in words; call the answer when it ends. */
  connect(what: string): () => void {
    this.#connections.set(what, (this.#connections.get(what) ?? 0) + 1);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      const left = (this.#connections.get(what) ?? 1) - 1;
      if (left === 0) this.#connections.delete(what);
      else this.#connections.set(what, left);
      this.touch(Date.now());
    };
  }

  use(nowMs: number): Use {
    if (this.#connections.size > 0) {
      return { activeMs: nowMs, keptAwakeBy: [...this.#connections.keys()].slice(0, namedConnections).join(", ") };
    }
    return { activeMs: this.#keptAwakeBy === null ? this.#activeMs : nowMs, keptAwakeBy: this.#keptAwakeBy };
  }

  /** Looks at the machine itself; not needed while a connection is open, and not done then. */
  async look(source: ActivitySource, nowMs: number): Promise<void> {
    if (this.#connections.size > 0) return;
    const [guest, usedMs] = await Promise.all([source.activity(), source.cpuMs()]);
    const { runningProcesses, lastTerminalOutputMs } = guest;
    const share = this.#cpu ? (usedMs - this.#cpu.usedMs) / Math.max(1, nowMs - this.#cpu.atMs) : 0;
    this.#cpu = { usedMs, atMs: nowMs };
    if (runningProcesses > 0) {
      this.#keptAwakeBy = runningProcesses === 1 ? "a command that runs" : `${runningProcesses} commands that run`;
    } else if (lastTerminalOutputMs !== null && nowMs - lastTerminalOutputMs < terminalQuietMs) {
      this.#keptAwakeBy = "a terminal";
    } else if (share > busyShare) this.#keptAwakeBy = "busy processes";
    else this.#keptAwakeBy = null;
    if (this.#keptAwakeBy !== null) this.touch(nowMs);
  }
}
