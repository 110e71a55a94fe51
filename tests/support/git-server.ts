// A git server over HTTP for tests: node git-server.ts ROOT PORT. Serves every bare repository below ROOT for clone and
// push; what lies below ROOT/private needs the user `ada` with the password `lovelace`, below ROOT/known any user and password.
import { createServer } from "node:http";
import { serveGit } from "./git-http-backend.ts";

const [root = "/nowhere", port = "0"] = process.argv.slice(2);
const credentials = `Basic ${Buffer.from("ada:lovelace").toString("base64")}`;

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://git.test");
  const given = request.headers.authorization;
  const isRefused = url.pathname.startsWith("/known/") ? !given?.startsWith("Basic ") : given !== credentials;
  if (/^\/(private|known)\//.test(url.pathname) && isRefused) {
    response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end("sign in first");
    return;
  }
  serveGit(root, url.pathname, url.search, request, response);
});
server.listen(Number(port), () => process.stdout.write("ready\n"));
