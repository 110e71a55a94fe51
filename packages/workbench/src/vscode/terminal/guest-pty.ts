import { Emitter } from "@codingame/monaco-vscode-api/vscode/vs/base/common/event";
import { Disposable } from "@codingame/monaco-vscode-api/vscode/vs/base/common/lifecycle";
import {
  type IProcessDataEvent,
  type IProcessProperty,
  type IProcessPropertyMap,
  type IProcessReadyEvent,
  type ITerminalChildProcess,
  type ITerminalLaunchError,
  ProcessPropertyType,
} from "@codingame/monaco-vscode-api/vscode/vs/platform/terminal/common/terminal";
import { DormouseError } from "@dormouse/base";
import type { PtyEvent, PtyInfo } from "@dormouse/contract";
import type { Channel } from "../../channel/channel.ts";
import { follow } from "../../channel/follow.ts";
import { inputQueue } from "./input-queue.ts";

/** Characters the terminal may lag behind before the stream is let go and taken up again later. */
const highWaterCharacters = 2_000_000;
const lowWaterCharacters = 200_000;

/** What a {@link GuestPty} stands for. */
export interface GuestPtyOptions {
  /** The editor's number for it. */
  id: number;
  channel: Channel;
  /** Makes the terminal in the machine, or finds it. */
  open: () => Promise<PtyInfo>;
  /** Whether the terminal lived before and its scrollback comes first. */
  isAttached: boolean;
  /** True while the page goes away: terminals outlive pages. */
  isLeaving: () => boolean;
  /** Tells the user why a terminal ended that did not end by itself. */
  report: (problem: string) => void;
}

/**
 * A terminal of the machine as the editor's process. It stays through lost connections:
 * the agent keeps the scrollback, and reading goes on where it stopped.
 */
export class GuestPty extends Disposable implements ITerminalChildProcess {
  readonly id: number;
  readonly shouldPersist = true;
  readonly #data = this._register(new Emitter<IProcessDataEvent | string>());
  readonly onProcessData = this.#data.event;
  readonly #ready = this._register(new Emitter<IProcessReadyEvent>());
  readonly onProcessReady = this.#ready.event;
  readonly #replayed = this._register(new Emitter<void>());
  readonly onProcessReplayComplete = this.#replayed.event;
  readonly #property = this._register(new Emitter<IProcessProperty>());
  readonly onDidChangeProperty = this.#property.event;
  readonly #exit = this._register(new Emitter<number | undefined>());
  readonly onProcessExit = this.#exit.event;

  readonly #options: GuestPtyOptions;
  readonly #end = new AbortController();
  readonly #input = inputQueue((text) => this.#send(text));
  #info: PtyInfo | undefined;
  #offset = 0;
  #isReplaying: boolean;
  #typedAhead = "";
  #lagCharacters = 0;
  #caughtUp: (() => void) | undefined;
  #wanted: { cols: number; rows: number } | undefined;

  constructor(options: GuestPtyOptions) {
    super();
    this.#options = options;
    this.id = options.id;
    this.#isReplaying = options.isAttached;
  }

  /** The machine's name for the terminal, once it is there. */
  get ptyId(): string | undefined {
    return this.#info?.id;
  }

  async start(): Promise<ITerminalLaunchError | undefined> {
    try {
      this.#info = await this.#options.open();
    } catch (caught) {
      return { message: DormouseError.from(caught).message };
    }
    const { pid, cwd } = this.#info;
    this.#ready.fire({ pid, cwd, windowsPty: undefined });
    // What was shown was made for this size; the shell is told another one only after it stands again.
    if (this.#isReplaying) this.#overrideSize(this.#info);
    void this.#read(this.#info.id);
    return undefined;
  }

  input(data: string): void {
    if (!this.#isReplaying) this.#input.push(data);
    // Answers to questions that stand in the scrollback, all of them escape sequences, were given long ago. Anything else
    // was typed by somebody who did not wait.
    else if (!data.startsWith("\x1b")) this.#typedAhead += data;
  }

  async processBinary(data: string): Promise<void> {
    this.input(data);
  }

  resize(cols: number, rows: number): void {
    this.#wanted = { cols, rows };
    const id = this.ptyId;
    if (!id || this.#isReplaying || cols < 2 || rows < 1) return;
    // A size that could not be told is told again with the next one.
    void this.#options.channel.guest.pty.resize({ id, cols, rows }).catch(() => undefined);
  }

  shutdown(): void {
    const id = this.ptyId;
    if (!this.#end.signal.aborted && !this.#options.isLeaving() && id) {
      // A terminal that is already gone is what was asked for.
      void this.#options.channel.guest.pty.kill({ id }).catch(() => undefined);
    }
    this.#stop();
  }

  async detach(): Promise<void> {
    this.#stop();
  }

  sendSignal(signal: string): void {
    const keys: Record<string, string> = { SIGINT: "\x03", SIGQUIT: "\x1c", SIGTSTP: "\x1a" };
    const key = keys[signal];
    if (key) this.#input.push(key);
    else this.shutdown();
  }

  acknowledgeDataEvent(characters: number): void {
    this.#lagCharacters = Math.max(0, this.#lagCharacters - characters);
    if (this.#lagCharacters < lowWaterCharacters) this.#caughtUp?.();
  }

  async getInitialCwd(): Promise<string> {
    return this.#info?.cwd ?? "";
  }

  async getCwd(): Promise<string> {
    return this.#info?.cwd ?? "";
  }

  async refreshProperty<T extends ProcessPropertyType>(property: T): Promise<IProcessPropertyMap[T]> {
    if (property === ProcessPropertyType.Cwd) {
      const { ptys } = await this.#options.channel.guest.pty.list({});
      this.#info = ptys.find((pty) => pty.id === this.ptyId) ?? this.#info;
    }
    const isPath = property === ProcessPropertyType.Cwd || property === ProcessPropertyType.InitialCwd;
    const value = isPath
      ? (this.#info?.cwd ?? "")
      : property === ProcessPropertyType.Title
        ? this.#info?.title
        : undefined;
    return value as IProcessPropertyMap[T];
  }

  async updateProperty(): Promise<void> {}
  async setUnicodeVersion(): Promise<void> {}
  async clearBuffer(): Promise<void> {}

  async #read(id: string): Promise<void> {
    const { channel } = this.#options;
    try {
      while (!this.#end.signal.aborted) {
        const round = new AbortController();
        const signal = AbortSignal.any([this.#end.signal, round.signal]);
        await follow(channel, {
          open: () => channel.guest.pty.attach({ id, offset: this.#offset }, { signal }),
          onEvent: (event) => this.#handle(event, () => round.abort()),
          signal,
        });
        if (!round.signal.aborted) return;
        await this.#untilCaughtUp();
      }
    } catch (caught) {
      if (this.#end.signal.aborted) return;
      this.#options.report(`The terminal is gone: ${DormouseError.from(caught).message}`);
      this.#finish(undefined);
    }
  }

  async #handle(event: PtyEvent, letGo: () => void): Promise<void> {
    switch (event.type) {
      case "data": {
        this.#offset = event.offset;
        this.#lagCharacters += event.data.length;
        const data: IProcessDataEvent = { data: event.data, trackCommit: this.#isReplaying };
        if (event.data) this.#data.fire(data);
        if (this.#isReplaying) {
          await data.writePromise;
          this.#endReplay();
        }
        if (this.#lagCharacters > highWaterCharacters) letGo();
        return;
      }
      case "resized": {
        // Another client's window decides the size until this one is resized.
        const isOurs = event.cols === this.#wanted?.cols && event.rows === this.#wanted.rows;
        if (!this.#isReplaying) this.#overrideSize(isOurs ? undefined : event);
        return;
      }
      case "exit":
        this.#finish(event.exitCode);
    }
  }

  /** Makes the editor show another size than its window has room for. */
  #overrideSize(size: { cols: number; rows: number } | undefined): void {
    const value = size && { cols: size.cols, rows: size.rows, forceExactSize: true };
    this.#property.fire({ type: ProcessPropertyType.OverrideDimensions, value });
  }

  #endReplay(): void {
    this.#isReplaying = false;
    // The editor answers with the size of its window.
    this.#overrideSize(undefined);
    this.#replayed.fire();
    if (this.#typedAhead) this.#input.push(this.#typedAhead);
    this.#typedAhead = "";
  }

  #finish(exitCode: number | undefined): void {
    if (this.#end.signal.aborted) return;
    if (this.#isReplaying) this.#endReplay();
    this.#end.abort();
    this.#exit.fire(exitCode);
  }

  #stop(): void {
    this.#end.abort();
    this.#caughtUp?.();
  }

  async #untilCaughtUp(): Promise<void> {
    if (this.#end.signal.aborted || this.#lagCharacters < lowWaterCharacters) return;
    await new Promise<void>((resolve) => {
      this.#caughtUp = resolve;
    });
    this.#caughtUp = undefined;
  }

  async #send(text: string): Promise<void> {
    const id = this.ptyId;
    if (!id || this.#end.signal.aborted) return;
    try {
      await this.#options.channel.guest.pty.input({ id, data: text });
    } catch {
      // Keys typed into a connection that broke are not repeated: they may have arrived.
    }
  }
}
