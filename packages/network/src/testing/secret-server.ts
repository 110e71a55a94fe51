// Stands for servers that take secrets: HTTPS on 443 and HTTP on 80 of one address, and writes each request as a line of JSON.
// Usage: secret-server.ts ADDRESS CERTIFICATE KEY. Says "ready" and serves until its standard input ends.
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { Socket } from "node:net";

const [address = "", certificate = "", key = ""] = process.argv.slice(2);
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const serve = (isEncrypted: boolean) => async (incoming: IncomingMessage, response: ServerResponse) => {
  let bytes = 0;
  for await (const chunk of incoming) bytes += chunk.length;
  const { method, url, headers } = incoming;
  say({ isEncrypted, method, url, headers, bytes });
  response.setHeader("content-type", "text/plain");
  response.end(`seen ${url} ${bytes}\n`);
};
const servers = [
  createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key) }, serve(true)).listen(443, address),
  createServer(serve(false)).listen(80, address),
];
for (const server of servers) {
  // Greets, then says again what it is told, as long as the connection is there.
  server.on("upgrade", ({ method, url, headers }: IncomingMessage, socket: Socket) => {
    say({ isEncrypted: true, method, url, headers, bytes: 0 });
    socket.on("error", () => socket.destroy());
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n");
    socket.pipe(socket);
  });
}
await Promise.all(servers.map((server) => new Promise((resolve) => server.once("listening", resolve))));
say({ ready: true });
process.stdin.resume().on("end", () => process.exit(0));
