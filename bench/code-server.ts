import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** What the editor is compared with; installed once, beside what else is built. */
const version = "4.139.1";
const cacheDir = process.env.DORMOUSE_CACHE || "/var/cache/dormouse";

/** A code-server that serves a folder of this host. */
export interface CodeServer extends AsyncDisposable {
  /** Of its page. */
  address: string;
  /** Of its page with the file open. */
  withFile: string;
}

/** Starts it on a folder with one file, with nothing of its own to tell on its first page. */
export async function startCodeServer(options: {
  fileName: string;
  content: string;
  note: (text: string) => void;
}): Promise<CodeServer> {
  const home = await installOnce(options.note);
  const scratch = await mkdtemp(join(tmpdir(), "dormouse-bench-other-"));
  const folder = join(scratch, "folder");
  await mkdir(join(scratch, "data/User"), { recursive: true });
  await mkdir(folder);
  await writeFile(join(folder, options.fileName), options.content);
  const settings = {
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "chat.disableAIFeatures": true,
    "security.workspace.trust.enabled": false,
  };
  await writeFile(join(scratch, "data/User/settings.json"), JSON.stringify(settings));
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [
      join(home, "node_modules/code-server/out/node/entry.js"),
      ...["--auth", "none", "--bind-addr", `127.0.0.1:${port}`, "--disable-telemetry", "--disable-update-check"],
      ...["--user-data-dir", join(scratch, "data"), "--extensions-dir", join(scratch, "extensions")],
    ],
    { stdio: "ignore", env: { ...process.env, HOME: scratch }, detached: true },
  );
  const origin = `http://127.0.0.1:${port}`;
  const stop = async () => {
    await end(child);
    await rm(scratch, { recursive: true, force: true });
  };
  try {
    await untilAnswers(origin, child);
  } catch (error) {
    await stop();
    throw error;
  }
  const address = `${origin}/?folder=${encodeURIComponent(folder)}`;
  const opened = [["openFile", `vscode-remote://127.0.0.1:${port}${join(folder, options.fileName)}`]];
  return {
    address,
    withFile: `${address}&payload=${encodeURIComponent(JSON.stringify(opened))}`,
    [Symbol.asyncDispose]: stop,
  };
}

async function installOnce(note: (text: string) => void): Promise<string> {
  const home = join(cacheDir, `bench-code-server-${version}`);
  const isThere = await access(join(home, "installed")).then(
    () => true,
    () => false,
  );
  if (isThere) return home;
  note(`installing code-server ${version}, once …`);
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  // It compiles parts of itself.
  await install("apt-get", ["install", "--yes", "--no-install-recommends", "g++", "libkrb5-dev", "make", "python3"]);
  await install("npm", ["install", "--prefix", home, "--no-audit", "--no-fund", `code-server@${version}`]);
  await writeFile(join(home, "installed"), "");
  return home;
}

async function install(command: string, args: string[]): Promise<void> {
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], env });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || !address) throw new Error("no port");
  return address.port;
}

async function untilAnswers(origin: string, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt++) {
    if (child.exitCode !== null) throw new Error(`code-server ended with ${child.exitCode}`);
    if (await fetch(origin, { redirect: "manual" }).catch(() => undefined)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("code-server did not answer within a minute");
}

/** With all that it started. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  process.kill(-child.pid, "SIGTERM");
  await ended;
}
