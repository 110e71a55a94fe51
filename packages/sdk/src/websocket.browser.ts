import { DormouseError } from "@dormouse/base";
import type { OpenSocket, OpenSocketOptions } from "./websocket.ts";

/** Connects with the page's session cookie. A browser does not tell why a connection is refused: it is `unavailable`. */
export function openWebSocket(url: string, options: OpenSocketOptions): Promise<OpenSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const { host } = new URL(url);
    const timer = setTimeout(() => socket.close(), options.timeoutMs);
    socket.addEventListener("open", () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.addEventListener("close", () => {
      clearTimeout(timer);
      reject(new DormouseError("unavailable", `no connection to ${host}`));
    });
  });
}
