import { DormouseError } from "@dormouse/base";
import type { Channel } from "./channel.ts";

/** How {@link follow} opens a stream and what it does with its events. */
export interface FollowOptions<T> {
  /** Opens the stream; called again after each reconnection, so it says where to go on from. */
  open: (signal: AbortSignal) => Promise<AsyncIterable<T>>;
  onEvent: (event: T) => void | Promise<void>;
  /** Called before each further {@link open}: events may have been missed in between. */
  onResume?: () => void;
  signal: AbortSignal;
}

/**
 * Follows a stream of the machine through lost connections until it ends by itself
 * or `signal` aborts. Rejects with what the machine answered when it refuses the stream.
 */
export async function follow<T>(channel: Channel, options: FollowOptions<T>): Promise<void> {
  for (let round = 0; !options.signal.aborted; round++) {
    if (round > 0) options.onResume?.();
    const session = await channel.whenConnected(options.signal);
    try {
      for await (const event of await options.open(options.signal)) await options.onEvent(event);
      if (!session.isLost()) return;
    } catch (caught) {
      if (options.signal.aborted) return;
      const error = DormouseError.from(caught, "unknown");
      if (!session.isLost() && error.code !== "unavailable") throw error;
    }
  }
}
