import { createId, DormouseError } from "@dormouse/base";
import type { LanguageServer, LanguageSession } from "@dormouse/contract";
import {
  AbstractMessageReader,
  AbstractMessageWriter,
  type DataCallback,
  type Disposable,
  type Message,
  type MessageTransports,
} from "vscode-languageclient/browser";
import type { Channel } from "../channel/channel.ts";
import { follow } from "../channel/follow.ts";

/** What goes in one call; a single message may be longer. */
const batchCharacters = 256 * 1024;
const batchMessages = 1000;

/** What {@link openTransport} opens. */
export interface TransportOptions {
  channel: Channel;
  server: LanguageServer;
  /** The workspace's folder, as the machine names it. */
  folder: string;
  /** What the server writes beside its messages. */
  onLog: (text: string) => void;
  /** Told once, with the reason. */
  onEnd: (reason: string) => void;
}

/** A server in the machine, and the two ways of its messages. */
export interface Transport {
  info: LanguageSession;
  transports: MessageTransports;
  /** Ends the server at once. */
  stop(): void;
}

/**
 * Starts a server in the machine. It stays through lost connections: what was sent is sent again, under its number, and
 * reading goes on where it stopped.
 * @throws DormouseError as the machine says when it cannot be started.
 */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  const { channel, server, folder } = options;
  const { languages } = channel.guest;
  const sessionId = createId("language");
  const info = await languages.start({ sessionId, server, folder });
  const end = new AbortController();
  const { signal } = end;
  let isOver = false;
  const stop = () => {
    end.abort();
    // Without an answer the machine ends it by itself in a minute.
    void languages.stop({ sessionId }).catch(() => {});
  };

  class Reader extends AbstractMessageReader {
    listen(callback: DataCallback): Disposable {
      void this.#read(callback);
      return { dispose: stop };
    }

    async #read(callback: DataCallback): Promise<void> {
      let after = 0;
      let reason = "it does not answer any more";
      try {
        await follow(channel, {
          open: () => languages.attach({ sessionId, after }, { signal }),
          onEvent: ({ index, message, log, ended }) => {
            after = index;
            if (ended !== undefined) reason = ended;
            if (log !== undefined) options.onLog(log);
            if (message !== undefined) callback(JSON.parse(message) as Message);
          },
          signal,
        });
      } catch (caught) {
        reason = DormouseError.from(caught).message;
      }
      isOver = true;
      options.onEnd(reason);
      this.fireClose();
    }
  }

  class Writer extends AbstractMessageWriter {
    readonly #outbox: string[] = [];
    #first = 1;
    #isSending = false;

    async write(message: Message): Promise<void> {
      this.#outbox.push(JSON.stringify(message));
      if (!this.#isSending) void this.#send();
    }

    end(): void {}

    async #send(): Promise<void> {
      this.#isSending = true;
      while (this.#outbox.length > 0 && !isOver && !signal.aborted) {
        const messages: string[] = [];
        let characters = 0;
        for (const message of this.#outbox) {
          characters += message.length;
          if (messages.length > 0 && (characters > batchCharacters || messages.length === batchMessages)) break;
          messages.push(message);
        }
        try {
          await languages.send({ sessionId, first: this.#first, messages });
        } catch (caught) {
          // The channel waits for a lost connection as long as a call may; a server waits a little longer.
          if (["unavailable", "deadline_exceeded"].includes(DormouseError.from(caught).code)) continue;
          // It is over, and reading says why.
          break;
        }
        this.#outbox.splice(0, messages.length);
        this.#first += messages.length;
      }
      this.#isSending = false;
    }
  }

  return { info, transports: { reader: new Reader(), writer: new Writer() }, stop };
}
