import { DormouseError } from "@dormouse/base";
import type { DebugMessage } from "@dormouse/contract";
import type * as vscode from "vscode";
import type { Channel } from "../channel/channel.ts";
import { follow } from "../channel/follow.ts";

/** The most that one call takes. */
const batch = 1000;

/** What a {@link DebugRelay} stands between. */
export interface RelayOptions {
  channel: Channel;
  /** The session in the machine. */
  sessionId: string;
  /** This page's name as one of the session's editors. */
  clientId: string;
  /** True once the page goes away: sessions outlive pages, and the editor's goodbye is not for the machine. */
  isLeaving: () => boolean;
  /** Told once when the session is over for good, or the user has ended it. */
  onOver: () => void;
  emitter: vscode.EventEmitter<vscode.DebugProtocolMessage>;
}

/**
 * The editor's debug adapter: passes messages on to the session in the machine and back. It stays through lost
 * connections: what was sent is sent again, under its number, and reading goes on where it stopped.
 */
export class DebugRelay implements vscode.DebugAdapter {
  readonly onDidSendMessage: vscode.Event<vscode.DebugProtocolMessage>;
  readonly #options: RelayOptions;
  readonly #end = new AbortController();
  readonly #attached = Promise.withResolvers<void>();
  readonly #outbox: DebugMessage[] = [];
  #isSending = false;
  #after = 0;
  #hasTerminated = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.onDidSendMessage = options.emitter.event;
    void this.#read();
  }

  handleMessage(message: vscode.DebugProtocolMessage): void {
    const { command } = message as { command?: string };
    if (command === "disconnect") {
      if (this.#options.isLeaving()) return;
      this.#options.onOver();
    }
    this.#outbox.push(message as unknown as DebugMessage);
    if (!this.#isSending) void this.#send();
  }

  dispose(): void {
    this.#end.abort();
  }

  async #read(): Promise<void> {
    const { channel, sessionId, clientId, emitter } = this.#options;
    const { signal } = this.#end;
    let problem = "";
    try {
      await follow(channel, {
        open: () => channel.guest.debug.attach({ sessionId, clientId, after: this.#after }, { signal }),
        onEvent: ({ index, message }) => {
          this.#after = index;
          this.#attached.resolve();
          if (!message) return;
          if ((message as { event?: string }).event === "terminated") this.#terminated();
          emitter.fire(message as unknown as vscode.DebugProtocolMessage);
        },
        signal,
      });
    } catch (caught) {
      problem = DormouseError.from(caught).message;
    }
    if (signal.aborted || this.#hasTerminated) return;
    // It ended while this page was not connected, or never was for this page.
    const event = (name: string, body?: object) => emitter.fire({ seq: 0, type: "event", event: name, body } as never);
    if (problem) event("output", { category: "important", output: `${problem}\n` });
    event("terminated");
  }

  #terminated(): void {
    this.#hasTerminated = true;
    this.#options.onOver();
  }

  async #send(): Promise<void> {
    const { channel, sessionId, clientId } = this.#options;
    this.#isSending = true;
    await this.#attached.promise;
    while (this.#outbox.length > 0 && !this.#end.signal.aborted) {
      const messages = this.#outbox.slice(0, batch);
      try {
        await channel.guest.debug.send({ sessionId, clientId, messages });
      } catch (caught) {
        // The channel waits for a lost connection as long as a call may; a session waits longer.
        if (["unavailable", "deadline_exceeded"].includes(DormouseError.from(caught).code)) continue;
        break;
      }
      this.#outbox.splice(0, messages.length);
    }
    this.#isSending = false;
  }
}
