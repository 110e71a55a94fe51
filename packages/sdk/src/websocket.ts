import { DormouseError } from "@dormouse/base";
import { WebSocket } from "ws";

/** An open socket, of `ws` or of the browser; binary messages arrive as ArrayBuffer. */
export type OpenSocket = Pick<
  globalThis.WebSocket,
  "addEventListener" | "removeEventListener" | "send" | "close" | "readyState"
>;

/** How {@link openWebSocket} connects. */
export interface OpenSocketOptions {
  /** Undefined in a page, whose session cookie goes along. */
  apiKey?: string;
  timeoutMs: number;
}

// A socket whose other side is gone without a word is found out after two of these.
const heartbeatMs = 15_000;
const refusalBytes = 64 * 1024;

/**
 * Connects and resolves once the socket is open.
 * @throws DormouseError what the server refuses with, else `unavailable`.
 */
export function openWebSocket(url: string, options: OpenSocketOptions): Promise<OpenSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      headers: options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` },
      handshakeTimeout: options.timeoutMs,
      perMessageDeflate: false,
    });
    socket.binaryType = "arraybuffer";
    socket.once("open", () => {
      keepAlive(socket);
      resolve(socket as unknown as OpenSocket);
    });
    socket.once("unexpected-response", (request, response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (text.length < refusalBytes) text += chunk;
      });
      response.on("close", () => {
        reject(refusal(text, response.statusCode ?? 0));
        request.destroy();
      });
    });
    // Stays registered: after the opening, the close event that follows says all there is to say.
    socket.on("error", (error) => {
      const { host } = new URL(url);
      reject(new DormouseError("unavailable", `no connection to ${host}: ${error.message}`, { cause: error }));
    });
  });
}

function keepAlive(socket: WebSocket): void {
  let isAlive = true;
  socket.on("pong", () => {
    isAlive = true;
  });
  const timer = setInterval(() => {
    if (!isAlive) return socket.terminate();
    isAlive = false;
    socket.ping();
  }, heartbeatMs);
  timer.unref();
  socket.once("close", () => clearInterval(timer));
}

function refusal(text: string, status: number): DormouseError {
  try {
    const error = DormouseError.fromJSON(JSON.parse(text));
    if (error) return error;
  } catch {
    // Not ours: the status has to do.
  }
  return new DormouseError(
    status === 401 ? "unauthenticated" : "unavailable",
    `the channel was refused: HTTP ${status}`,
  );
}
