// Stands for registries, archives and forges in tests: node package-server.ts ROOT ADDRESS CERTIFICATE KEY. Serves what lies
// below ROOT/HOST for each host that a request names, over HTTP and HTTPS, and bare repositories there as git servers do.
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join, normalize } from "node:path";
import { serveGit } from "./git-http-backend.ts";

const [root = "/nowhere", address = "127.0.0.1", certificate = "", key = ""] = process.argv.slice(2);

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const host = (request.headers.host ?? "").replace(/:\d+$/, "");
  const { pathname, search } = new URL(request.url ?? "/", "http://host.test");
  if (!/^[a-z0-9.-]+$/.test(host)) return void response.writeHead(400).end();
  const path = normalize(decodeURIComponent(pathname));
  if (path.includes(".git/")) return serveGit(join(root, host), path, search, request, response);
  let file = join(root, host, path);
  let found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) {
    file = join(file, "index.html");
    found = await stat(file).catch(() => undefined);
  }
  if (!found?.isFile()) return void response.writeHead(404).end("not found\n");
  response.writeHead(200, { "content-length": found.size });
  createReadStream(file).pipe(response);
}

const answer = (request: IncomingMessage, response: ServerResponse) => {
  serve(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
};
createServer(answer).listen(80, address);
createSecureServer({ cert: await readFile(certificate), key: await readFile(key) }, answer).listen(443, address, () =>
  process.stdout.write("ready\n"),
);
