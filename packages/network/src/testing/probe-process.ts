// Runs in a namespace as the other side of probe.ts: speaks and listens there, one request at a time over IPC.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { ProbeAnswer, ProbeRequest, ReceivedDatagram } from "./probe.ts";

const datagrams: ReceivedDatagram[] = [];
const handlers: { [K in ProbeRequest["kind"]]: (request: Extract<ProbeRequest, { kind: K }>) => Promise<ProbeAnswer> } =
  {
    async listen({ port }) {
      // Answers, once the client has said all, from whom it came and how much it was.
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        let bytes = 0;
        socket.on("data", (chunk) => {
          bytes += chunk.length;
        });
        socket.on("end", () => socket.end(JSON.stringify({ from: socket.remoteAddress, bytes })));
        socket.on("error", () => socket.destroy());
      });
      server.listen(port, "0.0.0.0");
      await once(server, "listening");
      const udp = createSocket("udp4");
      udp.on("message", (message, from) => {
        datagrams.push({ from: from.address, text: message.toString() });
        udp.send(`answer to ${message}`, from.port, from.address);
      });
      udp.bind(port, "0.0.0.0");
      await once(udp, "listening");
      return { kind: "done" };
    },
    async received() {
      return { kind: "received", datagrams };
    },
    connect({ host, port, bytes, timeoutMs }) {
      return new Promise((resolve) => {
        const socket = connect({ host, port });
        let text = "";
        const timer = setTimeout(() => {
          socket.destroy();
          resolve({ kind: "silence" });
        }, timeoutMs);
        socket.on("connect", () => socket.end(Buffer.alloc(bytes)));
        socket.on("data", (chunk) => {
          text += chunk;
        });
        socket.on("error", (error) => resolve({ kind: "refused", reason: error.message }));
        socket.on("close", () => {
          clearTimeout(timer);
          if (text) resolve({ kind: "answered", ...(JSON.parse(text) as { from: string; bytes: number }) });
        });
      });
    },
    async send({ host, port, from, text }) {
      const socket = createSocket("udp4");
      socket.bind(0, from);
      await once(socket, "listening");
      await new Promise<void>((resolve, reject) => {
        socket.send(text, port, host, (error) => (error ? reject(error) : resolve()));
      });
      socket.close();
      return { kind: "done" };
    },
    async flood({ host, ports }) {
      const socket = createSocket("udp4");
      for (let port = 1; port <= ports; port++) {
        await new Promise<void>((resolve) => socket.send("flood", port, host, () => resolve()));
      }
      socket.close();
      return { kind: "done" };
    },
    async ask({ host, port, text, timeoutMs }) {
      const socket = createSocket("udp4");
      socket.send(text, port, host);
      try {
        const [message, from] = await once(socket, "message", { signal: AbortSignal.timeout(timeoutMs) });
        return { kind: "received", datagrams: [{ from: from.address, text: String(message) }] };
      } catch {
        return { kind: "silence" };
      } finally {
        socket.close();
      }
    },
  };

process.on("message", async ({ id, request }: { id: number; request: ProbeRequest }) => {
  const handler = handlers[request.kind] as (request: ProbeRequest) => Promise<ProbeAnswer>;
  const answer = await handler(request).catch(
    (error: Error): ProbeAnswer => ({ kind: "refused", reason: error.message }),
  );
  process.send?.({ id, answer });
});
// Without its test a probe has no reason to be.
process.on("disconnect", () => process.exit());
