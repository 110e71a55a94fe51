import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { disposer, type ProgressEvent } from "@dormouse/base";
import { type Platform, type PlatformOptions, startPlatform } from "@dormouse/cli/platform";
import { Connection, Workspace } from "@dormouse/sdk";

/** A platform of the tests' own, and a connection to it as its administrator. */
export interface TestPlatform extends AsyncDisposable {
  platform: Platform;
  connection: Connection;
  dataDir: string;
  url: string;
  apiKey: string;
  /** Calls the host daemon as control does; `path` is the procedure's, e.g. `machines/list`. */
  hostCall<T>(path: string, input: unknown): Promise<T>;
  /** Stops it as Ctrl-C does and starts it again on the same data. */
  restart(): Promise<void>;
}

/**
 * Starts the whole platform on a folder of its own: real PostgreSQL, control, host,
 * gateway, machines. Everything is gone afterwards.
 */
export async function startTestPlatform(
  options: {
    poolSize?: number;
    /** Default: no snapshots but those that are asked for, so that a test's minute does not matter. */
    snapshotEveryMs?: number;
    snapshotStore?: PlatformOptions["snapshotStore"];
    registry?: PlatformOptions["registry"];
    extraRootsFile?: PlatformOptions["extraRootsFile"];
    devcontainer?: PlatformOptions["devcontainer"];
    /** Default: open, as tests reach servers of their own at this machine's addresses. */
    egressMode?: PlatformOptions["egressMode"];
    resolver?: PlatformOptions["resolver"];
  } = {},
): Promise<TestPlatform> {
  const stack = disposer();
  // Not below /root or a private temporary folder: machines and PostgreSQL run as users of their own.
  const dataDir = await mkdtemp("/var/tmp/dormouse-test-");
  await chmod(dataDir, 0o711);
  stack.add(() => rm(dataDir, { recursive: true, force: true }));
  const start = () =>
    startPlatform({
      dataDir: join(dataDir, "data"),
      cacheDir: process.env.DORMOUSE_CACHE || "/var/cache/dormouse",
      listen: { address: "127.0.0.1", port: 0 },
      poolSize: options.poolSize ?? 1,
      // One platform after the other would fill what it never uses.
      vmmsAhead: 2,
      snapshotEveryMs: options.snapshotEveryMs ?? 0,
      snapshotStore: options.snapshotStore,
      registry: options.registry,
      extraRootsFile: options.extraRootsFile,
      devcontainer: options.devcontainer,
      egressMode: options.egressMode ?? "open",
      resolver: options.resolver,
      namePrefix: "dmtest",
      progress: report,
      signal: new AbortController().signal,
    });
  let platform: Platform;
  try {
    platform = await start();
    stack.add(() => platform.stop());
    const { url, apiKey } = platform;
    let connection = await Connection.open({ url, apiKey });
    stack.add(() => deleteAll(connection));
    const state = JSON.parse(await readFile(join(dataDir, "data/platform.json"), "utf8"));
    return {
      get platform() {
        return platform;
      },
      get connection() {
        return connection;
      },
      get url() {
        return platform.url;
      },
      get apiKey() {
        return platform.apiKey;
      },
      dataDir,
      async hostCall<T>(path: string, input: unknown) {
        const response = await fetch(`http://127.0.0.1:${state.ports.host}/rpc/${path}`, {
          method: "POST",
          headers: { authorization: `Bearer ${state.hostToken}`, "content-type": "application/json" },
          body: JSON.stringify({ json: input }),
        });
        return ((await response.json()) as { json: T }).json;
      },
      async restart() {
        await platform.stop();
        platform = await start();
        connection = await Connection.open({ url: platform.url, apiKey: platform.apiKey });
      },
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

/** So that stopping has no machines to put to sleep. */
async function deleteAll(connection: Connection): Promise<void> {
  for (const { id } of await Workspace.list({ connection })) await Workspace.kill(id, { connection });
}

function report(event: ProgressEvent): void {
  if (event.state === "running") return;
  process.stderr.write(
    `${event.state} ${event.message}${event.elapsedMs ? ` (${Math.round(event.elapsedMs)} ms)` : ""}\n`,
  );
}
