import { DormouseError } from "@dormouse/base";
import type { DebugEvent } from "@dormouse/contract/debug-schemas";
import { limits } from "@dormouse/contract/limits";
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

interface Kept {
  index: number;
  message: DapMessage;
  characters: number;
}

/** Keeps what an editor has not taken yet, so that a lost connection loses no message. */
export function createClient(isJoining: boolean): DebugClient {
  let outbox: Kept[] = [];
  let keptCharacters = 0;
  let lastIndex = 0;
  let isOver = false;
  let isLost = false;
  let followers = 0;
  let wake = Promise.withResolvers<void>();
  const stir = () => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };

  return {
    isJoining,
    lastSeq: 0,
    get isFollowed() {
      return followers > 0;
    },

    push(message) {
      if (isOver || isLost) return;
      const index = ++lastIndex;
      const numbered = { ...message, seq: index };
      const characters = JSON.stringify(numbered).length;
      keptCharacters += characters;
      outbox.push({ index, message: numbered, characters });
      if (keptCharacters > limits.debugOutboxBytes) {
        isLost = true;
        outbox = [];
      }
      stir();
    },

    async *follow(after, signal) {
      followers++;
      const onAbort = () => stir();
      signal?.addEventListener("abort", onAbort, { once: true });
      let taken = after;
      try {
        yield { index: after };
        while (!signal?.aborted) {
          if (isLost) throw new DormouseError("not_found", "clientId: it fell behind, and begins anew");
          while (outbox[0] && outbox[0].index <= taken) keptCharacters -= outbox.shift()?.characters ?? 0;
          const next = outbox[0];
          if (next) {
            // Kept until the next one is asked for: only then has it arrived.
            yield { index: next.index, message: next.message as unknown as NonNullable<DebugEvent["message"]> };
            taken = next.index;
          } else if (isOver) return;
          else await wake.promise;
        }
      } finally {
        followers--;
        signal?.removeEventListener("abort", onAbort);
      }
    },

    end() {
      isOver = true;
      stir();
    },
  };
}
