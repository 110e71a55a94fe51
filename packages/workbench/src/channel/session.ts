import { DormouseError } from "@dormouse/base";
import type { ClientLink } from "@orpc/client";
import { RPCLink } from "@orpc/client/websocket";

/** One standing WebSocket to the agent, from its opening to its loss. */
export interface Session {
  readonly link: ClientLink<Record<never, never>>;
  isLost(): boolean;
  /** Asks for a sign of life; without one in time the connection counts as lost. */
  test(): void;
  close(): void;
}

/** A silent connection is tested after this; it also keeps address translators on the way from forgetting it. */
const silenceMs = 25_000;
/** An emulated machine under load answers late, but not this late. */
const testTimeoutMs = 10_000;

/** How a session is opened. */
export interface SessionOptions {
  /** For the opening alone. */
  timeoutMs: number;
  signal: AbortSignal;
  /** Called once when the connection is gone, before its calls fail. */
  onLost: () => void;
}

/** Opens a WebSocket and resolves when it stands. Rejects with `unavailable`, or `deadline_exceeded` after `timeoutMs`. */
export async function openSession(url: string, options: SessionOptions): Promise<Session> {
  const socket = new WebSocket(url);
  // Blobs are read asynchronously, which could turn the order of two messages around.
  socket.binaryType = "arraybuffer";
  await opened(socket, options);
  // Registered before the link's own listener: calls that fail by the loss must find it known.
  socket.addEventListener("close", () => lose(), { once: true });
  const link = new RPCLink({ websocket: socket });
  let isLost = false;
  let isTesting = false;
  let lastMessageMs = performance.now();

  const lose = () => {
    if (isLost) return;
    isLost = true;
    clearInterval(timer);
    options.onLost();
    // The closing handshake of a dead connection takes minutes; nobody waits for it.
    socket.close();
    socket.dispatchEvent(new Event("close"));
  };
  const test = () => {
    if (isTesting || isLost) return;
    isTesting = true;
    const expiry = setTimeout(lose, testTimeoutMs);
    const done = () => {
      isTesting = false;
      clearTimeout(expiry);
    };
    // Any answer is a sign of life, a refusal too.
    link.call(["machine", "activity"], {}, { context: {} }).then(done, done);
  };
  const timer = setInterval(() => {
    if (performance.now() - lastMessageMs > silenceMs) test();
  }, silenceMs / 5);

  socket.addEventListener("message", () => {
    lastMessageMs = performance.now();
  });
  return { link, isLost: () => isLost, test, close: lose };
}

function opened(socket: WebSocket, options: SessionOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: DormouseError) => {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", onAbort);
      if (!error) return resolve();
      socket.close();
      reject(error);
    };
    const onAbort = () => settle(new DormouseError("cancelled", "connecting to the workspace was cancelled"));
    const timer = setTimeout(
      () => settle(new DormouseError("deadline_exceeded", `no connection within ${options.timeoutMs} ms`)),
      options.timeoutMs,
    );
    options.signal.addEventListener("abort", onAbort, { once: true });
    socket.addEventListener("open", () => settle(), { once: true });
    socket.addEventListener(
      "close",
      () => settle(new DormouseError("unavailable", "the workspace refused the connection")),
      { once: true },
    );
  });
}
