import { spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";

/** Answers a request for a bare repository below a folder, as `git http-backend` does. */
export function serveGit(
  root: string,
  path: string,
  search: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const backend = spawn("git", ["http-backend"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      GIT_CONFIG_COUNT: "2",
      GIT_CONFIG_KEY_0: "http.receivepack",
      GIT_CONFIG_VALUE_0: "true",
      GIT_CONFIG_KEY_1: "safe.directory",
      GIT_CONFIG_VALUE_1: "*",
      PATH_INFO: decodeURIComponent(path),
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method ?? "GET",
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      HTTP_GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      REMOTE_ADDR: request.socket.remoteAddress ?? "",
    },
  });
  request.pipe(backend.stdin);
  let head = Buffer.alloc(0);
  let inBody = false;
  backend.stdout.on("data", (chunk: Buffer) => {
    if (inBody) return void response.write(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const headers = head
      .subarray(0, end)
      .toString()
      .split("\r\n")
      .map((line) => line.split(/:\s*/, 2));
    const status = headers.find(([name]) => name?.toLowerCase() === "status")?.[1];
    for (const [name = "", value = ""] of headers) if (name.toLowerCase() !== "status") response.setHeader(name, value);
    response.writeHead(Number.parseInt(status ?? "200", 10));
    response.write(head.subarray(end + 4));
    inBody = true;
  });
  backend.on("close", () => response.end());
}
