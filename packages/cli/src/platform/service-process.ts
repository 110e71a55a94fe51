import { type ChildProcess, spawn } from "node:child_process";
import { setPriority } from "node:os";
import { DormouseError, sleep, withTimeout } from "@dormouse/base";
import { RotatingLog } from "./rotating-log.ts";

/** One part of the platform that runs as a process of its own. */
export interface ServiceDefinition {
  name: string;
  /** TypeScript file that Node runs. */
  entry: string;
  env?: Readonly<Record<string, string>>;
  logFile: string;
  /**
   * What it holds outlives it, as machines outlive their host's daemon. When it has died at the moment it is stopped, it
   * is started once more, so that it can end what is its own.
   */
  mustEndInOrder?: boolean;
}

const readyTimeoutMs = 60_000;
/** A host may have many machines to put to sleep, one minute and more each on a busy machine. */
const stopTimeoutMs = 300_000;
const servicePriority = -5;
const lastWordsMs = 1_000;
const firstRestartDelayMs = 100;
const maxRestartDelayMs = 5_000;
/** A part that worked this long is restarted at once again, not with the delay that it had earned before. */
const settledAfterMs = 5_000;

/**
 * Keeps one part of the platform running: loads it, gives it its configuration, waits for
 * its `ready` message, starts it again when it ends by itself, and ends it on `stop`. Its
 * output goes to a bounded log file.
 */
export class ServiceProcess {
  readonly #definition: ServiceDefinition;
  readonly #log: RotatingLog;
  #child: ChildProcess | undefined;
  #config: object | undefined;
  #isUp = false;
  #hasEndedInOrder = false;
  /** Aborted by `stop`; ends the pause before a restart. */
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(definition: ServiceDefinition) {
    this.#definition = definition;
    this.#log = new RotatingLog(definition.logFile);
  }

  /** Process id while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the process ahead of {@link start}: loading its code takes longer than finding out its configuration. */
  load(): void {
    this.#child ??= this.#spawn();
  }

  /**
   * Starts the part and resolves with its `ready` message.
   * @throws DormouseError when it ends or stays silent before that, naming its log file.
   */
  async start(config: object): Promise<Record<string, unknown>> {
    this.#config = config;
    this.load();
    const { message, ended } = await this.#launch();
    this.#loop = this.#keepRunning(ended);
    return message;
  }

  /** Ends the part: a request first, by force after five minutes. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    // One that is coming up is ended by the loop, once it has come up.
    if (this.#isUp || !this.#loop || !this.#definition.mustEndInOrder) await this.#end();
    await this.#loop;
    this.#log[Symbol.dispose]();
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (!child || hasEnded(child)) return;
    let isForced = false;
    const gone = new Promise<void>((resolve) => {
      child.once("exit", (_code, signal) => {
        // Killed by somebody else: it died before it could do what it was asked to.
        this.#hasEndedInOrder = isForced || signal !== "SIGKILL";
        resolve();
      });
    });
    child.kill("SIGTERM");
    const force = setTimeout(() => {
      isForced = true;
      child.kill("SIGKILL");
    }, stopTimeoutMs);
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
    await gone;
    clearTimeout(force);
    // Its last words may still be on their way; a child of its own that holds the pipe open is not waited for.
    await withTimeout(`the last words of ${this.#definition.name}`, lastWordsMs, () => closed).catch(() => {});
  }

  async #keepRunning(firstEnd: Promise<void>): Promise<void> {
    let ended = firstEnd;
    let delayMs = firstRestartDelayMs;
    const { signal } = this.#stopping;
    const isOver = () => signal.aborted && (this.#hasEndedInOrder || !this.#definition.mustEndInOrder);
    for (;;) {
      this.#isUp = true;
      const startedMs = Date.now();
      await ended;
      this.#isUp = false;
      if (isOver()) return;
      if (Date.now() - startedMs > settledAfterMs) delayMs = firstRestartDelayMs;
      // Only `stop` ends the pause early, and that is asked for below.
      await sleep(delayMs, signal).catch(() => {});
      delayMs = Math.min(delayMs * 2, maxRestartDelayMs);
      if (isOver()) return;
      this.#child = this.#spawn();
      const launched = await this.#launch().catch(() => undefined);
      // One that does not come up even to be stopped is left: its log says why.
      if (signal.aborted) return launched && (await this.#end());
      ended = launched?.ended ?? Promise.resolve();
    }
  }

  #spawn(): ChildProcess {
    const { entry, env } = this.#definition;
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // A group of its own: Ctrl-C reaches the supervisor alone, which ends its parts in order.
      detached: true,
    });
    try {
      // Everybody's requests go through it, so no machine's work comes before its own.
      if (child.pid !== undefined) setPriority(child.pid, servicePriority);
    } catch {
      // Not everybody may ask for that: then it is one among equals.
    }
    child.stdout?.on("data", (chunk: Buffer) => this.#log.write(chunk));
    child.stderr?.on("data", (chunk: Buffer) => this.#log.write(chunk));
    // Whoever waits for `ready` hears of it; nobody may be waiting yet.
    child.on("error", () => {});
    return child;
  }

  /** Configures the process that has been spawned and waits until it is ready. */
  async #launch(): Promise<{ message: Record<string, unknown>; ended: Promise<void> }> {
    const { name, logFile } = this.#definition;
    const child = this.#child ?? this.#spawn();
    const ended = new Promise<void>((resolve) => {
      if (hasEnded(child)) resolve();
      else child.once("exit", () => resolve());
    });
    const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
      child.on("message", (message: Record<string, unknown>) => {
        if (message.type === "ready") resolve(message);
      });
      child.once("error", reject);
      void ended.then(() => {
        const end = child.signalCode ?? child.exitCode;
        reject(new DormouseError("unavailable", `${name} ended at its start (${end}); see ${logFile}`));
      });
    });
    try {
      // A process that has just ended takes nothing any more; its end is what counts.
      if (child.connected) child.send(this.#config ?? {}, () => {});
      return { message: await withTimeout(`the start of ${name}`, readyTimeoutMs, () => ready), ended };
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}
