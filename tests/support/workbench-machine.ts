import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { retry } from "@dormouse/base";
import { schemaFiles } from "@dormouse/devcontainer";
import { buildGuest } from "@dormouse/guest";
import { buildLanguageTools } from "@dormouse/image";

/** The agent of a machine, running on this one. */
export interface TestMachine extends AsyncDisposable {
  url: string;
  token: string;
}

/** Starts the real agent with its real spawner, with this host's own root and user. */
export async function startMachine(env: NodeJS.ProcessEnv = {}): Promise<TestMachine> {
  const cacheDir = process.env.DORMOUSE_CACHE ?? join(tmpdir(), "dormouse-test-cache");
  const { initBinary, agentFile } = await buildGuest({ cacheDir });
  const { path: languageTools } = await buildLanguageTools(schemaFiles);
  const folder = await mkdtemp(join(tmpdir(), "dormouse-workbench-"));
  const socket = join(folder, "spawn.sock");
  const port = await freePort();
  const token = "a-token-of-a-test-machine";
  const identityFile = join(folder, "identity");
  await writeFile(identityFile, `${token}\n`);
  const children: ChildProcess[] = [];
  const start = (command: string, args: string[], extra: NodeJS.ProcessEnv = {}) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, ...env, ...extra },
    });
    children.push(child);
    return child;
  };
  const stop = async () => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    start(initBinary, ["--spawner", socket, "--root", "/", "--user-default", "root"]);
    start(process.execPath, [agentFile], {
      DORMOUSE_ROOT: "/",
      DORMOUSE_SPAWN_SOCKET: socket,
      DORMOUSE_IDENTITY_FILE: identityFile,
      DORMOUSE_LISTEN_HOST: "127.0.0.1",
      DORMOUSE_LISTEN_PORT: String(port),
      DORMOUSE_LANGUAGE_TOOLS: languageTools,
      DORMOUSE_LANGUAGE_NODE: process.execPath,
    });
    const url = `http://127.0.0.1:${port}`;
    await retry(() => fetch(`${url}/health`), { attempts: 100, delayMs: 50, maxDelayMs: 200 });
    return { url, token, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}
