import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLogger, disposer, type Progress } from "@dormouse/base";
import { writeFileAtomic } from "@dormouse/base/node";
import type { InternalContract, PortVisibility } from "@dormouse/contract";
import { fromRpcError } from "@dormouse/contract/errors";
import type { ControlConfigInput } from "@dormouse/control";
// Not by way of control's index, whose database and accounts take a second to load.
import { type EmbeddedPostgres, keepPostgresRunning } from "@dormouse/control/postgres";
import type { GatewayConfigInput } from "@dormouse/gateway";
import { type HostConfigInput, prepareHost } from "@dormouse/host";
import { createORPCClient } from "@orpc/client";
import { RPCLink } from "@orpc/client/fetch";
import type { ContractRouterClient } from "@orpc/contract";
import { loadPlatformState } from "./platform-state.ts";
import { RotatingLog } from "./rotating-log.ts";
import { ServiceProcess } from "./service-process.ts";
import { buildWebApps } from "./web-apps.ts";

/** How {@link startPlatform} runs the platform on this machine. */
export interface PlatformOptions {
  /** Everything that must outlive a run. */
  dataDir: string;
  /** What is built once; machines that sleep need the template in it. */
  cacheDir: string;
  /** Where the gateway listens; port 0 takes a free one. */
  listen: { address: string; port: number };
  /** Machines kept warm. */
  poolSize: number;
  /** Where snapshots lie; default: a folder of `dataDir`. */
  snapshotStore?: HostConfigInput["snapshotStore"];
  /** VMM processes that wait for a machine; default: as the host has it. */
  vmmsAhead?: number;
  /** What one person may have; default: as much as there is. */
  quota?: ControlConfigInput["quota"];
  /** Where images and features come from; default: as the host has it. */
  registry?: HostConfigInput["registry"];
  extraRootsFile?: HostConfigInput["extraRootsFile"];
  /** What may leave workspaces unless the installation's own layer says otherwise; default: as control has it. */
  egressMode?: ControlConfigInput["egressMode"];
  /** IPv4 address of the resolver that is asked for names; default: the host's. */
  resolver?: string | undefined;
  /** How definitions are applied; default: as control has it. */
  devcontainer?: ControlConfigInput["devcontainer"];
  /** Where ports have their origins, by default the platform's own name where names below it lead here too; and the policy. */
  ports?: { domain?: string | undefined; maxVisibility?: PortVisibility };
  /** How much of the host's memory is promised to machines, as a multiple; default 1. */
  memoryOvercommit?: number;
  /** Running machines are kept so often; default 60,000, 0: only when it is asked for. */
  snapshotEveryMs?: number;
  /** Which snapshots are kept; default: as storage has it. */
  retention?: HostConfigInput["retention"];
  /** What was built and nobody used for so long is removed, in milliseconds; 0: nothing is. */
  unusedForMs?: number;
  /** Repositories that are prebuilt are looked at so often; 0: only when their server says that they have changed. */
  prebuildLookSeconds?: number;
  /** Where the editor finds extensions; default: nowhere. */
  galleryUrl?: string | undefined;
  /** Prefix of network namespaces, 1 to 7 small letters; platforms on one machine need different ones. */
  namePrefix: string;
  progress: Progress;
  signal: AbortSignal;
}

/** A running platform. */
export interface Platform {
  /** The address people open. */
  url: string;
  /** An API key of the administrator. */
  apiKey: string;
  services: Record<"host" | "control" | "gateway", ServiceProcess>;
  /** A one-time link that signs the administrator in and then shows `path`. */
  createSignInLink(path: string): Promise<string>;
  /** Ends every part, from the door inwards; running machines are put to sleep. */
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL("../../../..", import.meta.url));

/**
 * Runs the platform on this machine: builds what is missing, then starts PostgreSQL,
 * host, control and gateway as processes of their own and keeps them running.
 * @throws DormouseError what failed, in one line; whatever was started has ended by then.
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { dataDir, cacheDir, listen, poolSize, namePrefix, progress, signal } = options;
  const stack = disposer();
  try {
    const state = await loadPlatformState(dataDir);
    const logs = join(dataDir, "logs");
    await mkdir(logs, { recursive: true, mode: 0o700 });
    const supervisorLog = new RotatingLog(join(logs, "supervisor.log"));
    stack.add(() => supervisorLog[Symbol.dispose]());
    const log = createLogger({ write: (line) => supervisorLog.write(Buffer.from(`${line}\n`)) });

    const service = (name: string, options?: { mustEndInOrder: boolean }) =>
      new ServiceProcess({
        ...options,
        name,
        entry: join(root, "packages", name, "src/main.ts"),
        // What Node strips of types and compiles once it finds again at the next start.
        env: { NODE_COMPILE_CACHE: join(cacheDir, "node") },
        logFile: join(logs, `${name}.log`),
      });
    const services = {
      host: service("host", { mustEndInOrder: true }),
      control: service("control"),
      gateway: service("gateway"),
    };
    let postgres: EmbeddedPostgres | undefined;
    stack.add(async () => postgres?.stop());
    // In this order they stop: nobody comes in any more, then nothing is changed, then machines go to sleep.
    stack.add(() => services.host.stop());
    stack.add(() => services.control.stop());
    stack.add(() => services.gateway.stop());
    // The largest first: its code loads while the rest finds out what it is to be told.
    for (const part of [services.control, services.host, services.gateway]) part.load();

    const nodeBinary = join(root, "node_modules/node/bin/node");
    const openDatabase = async () => {
      if (process.env.DATABASE_URL) return process.env.DATABASE_URL;
      postgres = await keepPostgresRunning({ dataDir: join(dataDir, "postgres"), cacheDir, log });
      return postgres.url;
    };
    // The browser apps take a core for a while, the base image mostly waits for the mirror: both at once.
    const [{ templateHash }, webApps, databaseUrl] = await together(signal, (own) => [
      prepareHost({ cacheDir, nodeBinary, namePrefix: `${namePrefix}x`, progress, signal: own, log }),
      buildWebApps({ root, cacheDir, progress, signal: own }),
      openDatabase(),
    ]);
    signal.throwIfAborted();

    const { ports, hostToken, internalToken } = state;
    const port = listen.port || ports.gateway;
    const publicUrl = `http://${reachableName(listen.address)}:${port}`;
    const portsDomain = options.ports?.domain ?? portsDomainOf(publicUrl);
    const hostUrl = `http://127.0.0.1:${ports.host}`;
    const controlUrl = `http://127.0.0.1:${ports.control}`;
    const internalUrl = `http://127.0.0.1:${ports.internal}`;
    const host: HostConfigInput = {
      dataDir,
      cacheDir,
      templateHash,
      listen: { port: ports.host },
      token: hostToken,
      namePrefix,
      resolver: options.resolver,
      poolSize,
      vmmsAhead: options.vmmsAhead,
      registry: options.registry,
      extraRootsFile: options.extraRootsFile,
      memoryOvercommit: options.memoryOvercommit,
      snapshotEveryMs: options.snapshotEveryMs,
      retention: options.retention,
      unusedForMs: options.unusedForMs,
      snapshotStore: options.snapshotStore,
      agentSecret: state.agentSecret,
      snapshotKey: { id: "installation", secret: state.snapshotSecret },
    };
    const control: ControlConfigInput = {
      listen: { port: ports.control },
      internalListen: { port: ports.internal },
      internalToken,
      databaseUrl,
      host: { url: hostUrl, token: hostToken },
      publicUrl,
      quota: options.quota,
      devcontainer: { ...options.devcontainer, unusedForMs: options.unusedForMs },
      prebuilds: { lookEverySeconds: options.prebuildLookSeconds },
      ports: { domain: portsDomain, maxVisibility: options.ports?.maxVisibility },
      extensions: { galleryUrl: options.galleryUrl },
      egressMode: options.egressMode,
      dataDir: join(dataDir, "control"),
    };
    const gateway: GatewayConfigInput = {
      listen: { host: listen.address, port },
      publicUrl,
      portsDomain,
      controlUrl,
      internalUrl,
      internalToken,
      workbenchDir: webApps.workbench,
      consoleDir: webApps.console,
    };
    await mkdir(control.dataDir, { recursive: true, mode: 0o700 });
    await Promise.all([services.host.start(host), services.control.start(control), services.gateway.start(gateway)]);
    signal.throwIfAborted();

    const internal = connectInternal(internalUrl, internalToken);
    return {
      url: publicUrl,
      apiKey: await localKey(dataDir, publicUrl, internal),
      services,
      createSignInLink: async (path) => (await internal.signInLink({ next: path }).catch(rethrow)).url,
      stop: async () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

/** Runs tasks at once; when one fails the others are told to stop, and have ended before the failure is heard. */
async function together<T extends readonly unknown[]>(
  signal: AbortSignal,
  begin: (signal: AbortSignal) => readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  const failed = new AbortController();
  const tasks = begin(AbortSignal.any([signal, failed.signal]));
  try {
    return (await Promise.all(tasks)) as unknown as T;
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(tasks);
    throw error;
  }
}

/** What people put into their browser for an address that is listened on. */
function reachableName(address: string): string {
  if (["127.0.0.1", "0.0.0.0", "::", "::1"].includes(address)) return "localhost";
  return address.includes(":") ? `[${address}]` : address;
}

/** Browsers take every name under localhost for this machine (RFC 6761, 6.3); other addresses have no names below them. */
function portsDomainOf(publicUrl: string): string | null {
  const { host, hostname } = new URL(publicUrl);
  return hostname === "localhost" ? host : null;
}

type Internal = ContractRouterClient<InternalContract>;

function connectInternal(url: string, token: string): Internal {
  return createORPCClient(new RPCLink({ url: `${url}/rpc`, headers: { authorization: `Bearer ${token}` } }));
}

/** The key of this machine's own tools; kept, so that a restart does not end what uses it. */
async function localKey(dataDir: string, url: string, internal: Internal): Promise<string> {
  const file = join(dataDir, "local-key");
  const known = existsSync(file) ? (await readFile(file, "utf8")).trim() : "";
  if (known) {
    const answer = await fetch(`${url}/api/me`, { headers: { authorization: `Bearer ${known}` } });
    await answer.body?.cancel();
    if (answer.ok) return known;
  }
  const { key } = await internal.localKey({ name: "this machine" }).catch(rethrow);
  await writeFileAtomic(file, key, { mode: 0o600 });
  return key;
}

function rethrow(error: unknown): never {
  throw fromRpcError(error);
}
