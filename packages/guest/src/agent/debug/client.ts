import type { DebugEvent } from "@dormouse/contract/debug-schemas";
import { limits } from "@dormouse/contract/limits";
import { createOutbox } from "../outbox.ts";
import type { DapMessage } from "./protocol.ts";

/** One editor that follows a session. */
export interface DebugClient {
  /** It is still going through the opening, and hears of nothing else until it has. */
  isJoining: boolean;
  /** Number of the last message that it sent. */
  lastSeq: number;
  /** Whether somebody reads. */
  readonly isFollowed: boolean;
  push(message: DapMessage): void;
  /** What comes after `after`, until the session ends; what it has taken is forgotten. */
  follow(after: number, signal?: AbortSignal): AsyncGenerator<DebugEvent>;
  end(): void;
}

/** Keeps what an editor has not taken yet, so that a lost connection loses no message. */
export function createClient(isJoining: boolean): DebugClient {
  const outbox = createOutbox<DapMessage>({
    maxCharacters: limits.debugOutboxBytes,
    charactersOf: (message) => JSON.stringify(message).length,
    lost: "clientId: it fell behind, and begins anew",
  });
  return {
    isJoining,
    lastSeq: 0,
    get isFollowed() {
      return outbox.isFollowed;
    },
    push: (message) => outbox.push((seq) => ({ ...message, seq })),
    async *follow(after, signal) {
      for await (const { index, item } of outbox.follow(after, signal)) {
        yield item ? { index, message: item as unknown as NonNullable<DebugEvent["message"]> } : { index };
      }
    },
    end: () => outbox.end(),
  };
}
