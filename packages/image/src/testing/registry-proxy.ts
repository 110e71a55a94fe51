import { once } from "node:events";
import { createServer, connect as open, type Socket } from "node:net";
import type { TestRegistry } from "./registry.ts";

/** Stands before a registry and lets a test decide when its answers stop. */
export interface RegistryProxy extends AsyncDisposable {
  address: string;
  /** Everything that was asked through it. */
  asked(): string;
  /** Resolves when the answers have stopped, after so many bytes. They stop once. */
  stopped: Promise<void>;
  /** Cuts every connection; those that come later are passed on again. */
  cut(): void;
}

/** @param options.stopAfterBytes of answers, over all connections; then nothing more comes on them. */
export async function startProxy(registry: TestRegistry, options: { stopAfterBytes: number }): Promise<RegistryProxy> {
  const port = Number(registry.address.split(":")[1]);
  const requests: Buffer[] = [];
  const sockets = new Set<Socket>();
  const { promise: stopped, resolve } = Promise.withResolvers<void>();
  let leftBytes = options.stopAfterBytes;
  let hasStopped = false;
  const server = createServer((client) => {
    const upstream = open(port, "127.0.0.1");
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      // A peer that is gone ends the other side, and that is all.
      socket.on("error", () => {});
    }
    client.on("close", () => upstream.destroy());
    client.on("data", (chunk) => {
      requests.push(chunk);
      upstream.write(chunk);
    });
    let isSilent = false;
    upstream.on("data", (chunk) => {
      if (!hasStopped) leftBytes -= chunk.length;
      if (leftBytes <= 0 && !hasStopped) {
        hasStopped = true;
        isSilent = true;
        resolve();
      }
      if (!isSilent) client.write(chunk);
    });
    upstream.on("close", () => {
      if (!isSilent) client.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as { port: number }).port}`,
    asked: () => Buffer.concat(requests).toString("latin1"),
    stopped,
    cut,
    [Symbol.asyncDispose]: async () => {
      server.close();
      cut();
    },
  };
}
