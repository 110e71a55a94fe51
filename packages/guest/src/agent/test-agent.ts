import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@dormouse/base";
import { buildInit } from "../build.ts";
import { createGuestClient, type GuestAddress, type GuestClient } from "../client.ts";
import { encodeFrame, frame } from "../process/spawner-protocol.ts";
import { createAgent } from "./agent.ts";
import type { DebugTools } from "./debug/adapters.ts";

/** An agent with the real spawner, on this machine and its own root, as the tests' user. */
export interface TestAgent extends AsyncDisposable {
  client: GuestClient;
  address: GuestAddress;
  /** A folder of its own, removed at the end. */
  folder: string;
  spawnSocket: string;
  /** Where it listens for the host, on 127.0.0.1. */
  spawnerPort: number;
  spawner: ChildProcess;
  /** Lines of the agent's log. */
  log: string[];
}

const token = "a token of the tests";

/** What is not as usual. */
interface TestAgentOptions {
  root?: string;
  debugTools?: DebugTools;
  languageTools?: string;
  languageGraceMs?: number;
}

/** Starts one; the spawner is compiled once into the cache. */
export async function startTestAgent(options: TestAgentOptions = {}): Promise<TestAgent> {
  const folder = await mkdtemp(join(tmpdir(), "dormouse-guest-"));
  const init = await buildInit(join(tmpdir(), "dormouse-guest-cache"));
  const spawnSocket = join(folder, "spawn.sock");
  const user = process.env.USER ?? "root";
  const names = options.root ?? join(folder, "names");
  const identityFile = join(folder, "identity");
  await writeFile(identityFile, `${token}\n`);
  const port = await freePort();
  const words = ["--spawner", spawnSocket, "--user-default", user, "--names", names];
  const network = ["--identity", identityFile, "--port", String(port)];
  const spawner = spawn(init.path, [...words, ...network], { stdio: ["ignore", "pipe", "inherit"] });
  await once(spawner.stdout, "data");
  const log: string[] = [];
  const agent = createAgent({
    root: options.root ?? "/",
    spawnSocket,
    user,
    identityFile,
    debugTools: options.debugTools ?? { folder: "/usr/lib/python3/dist-packages", node: process.execPath },
    languageTools: { folder: options.languageTools ?? folder, node: process.execPath, shell: ["sh"], memoryMib: 1024 },
    languageGraceMs: options.languageGraceMs,
    logger: createLogger({ write: (line) => log.push(line) }),
  });
  agent.server.listen(0, "127.0.0.1");
  await once(agent.server, "listening");
  const address = { baseUrl: `http://127.0.0.1:${(agent.server.address() as AddressInfo).port}`, token };
  return {
    client: createGuestClient(address),
    address,
    folder,
    spawnSocket,
    spawnerPort: port,
    spawner,
    log,
    async [Symbol.asyncDispose]() {
      agent.close();
      if (spawner.exitCode === null && spawner.signalCode === null) {
        const ended = once(spawner, "exit");
        spawner.kill("SIGKILL");
        await ended;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A connection to the spawner as the host makes it. */
export function connectAs({ spawnerPort }: TestAgent, presented: string): Socket {
  const socket = connect({ host: "127.0.0.1", port: spawnerPort });
  socket.write(encodeFrame(frame.token, Buffer.from(presented)));
  return socket;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** All events of a stream that ends. */
export async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}
